"""Verbs that work on runs that were written before: `mcinterp report`, `summary`, `figures` and `verify`."""

import argparse


def add_report(verb: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    verb.add_argument("runs", metavar="RUN_DIR", nargs="+", help="directories that runs were written into")
    verb.add_argument("--out", metavar="FILE", help="where the page is written (default: report.html in the first)")
    verb.set_defaults(call=run_report)


def add_summary(verb: argparse.ArgumentParser) -> None:
    """Arguments of `summary`."""
    verb.add_argument("run", metavar="RUN_DIR", help="a directory that a run was written into")
    verb.set_defaults(call=run_summary)


def add_figures(verb: argparse.ArgumentParser) -> None:
    """Arguments of `figures`."""
    verb.add_argument("run", metavar="RUN_DIR", help="a directory that a run was written into")
    verb.add_argument("--out", metavar="DIR", required=True, help="where the pictures are written")
    verb.set_defaults(call=run_figures)


def add_verify(verb: argparse.ArgumentParser) -> None:
    """Arguments of `verify`."""
    verb.add_argument("run", metavar="RUN_DIR", help="a directory that a run was written into")
    verb.set_defaults(call=run_verify)


def run_report(options: argparse.Namespace) -> None:
    """`mcinterp report`."""
    from mcinterp.run import Run
    from mcinterp.show.report import write_report

    print(write_report([Run.open(path) for path in options.runs], options.out))


def run_summary(options: argparse.Namespace) -> None:
    """`mcinterp summary`."""
    from mcinterp.cli.headline import headline
    from mcinterp.run import SUMMARY, Run

    print(headline(Run.open(options.run).read(SUMMARY)))


def run_figures(options: argparse.Namespace) -> None:
    """`mcinterp figures`."""
    from mcinterp.run import Run
    from mcinterp.show.gallery import write_figures

    for path in write_figures(Run.open(options.run), options.out):
        print(path)


def run_verify(options: argparse.Namespace) -> None:
    """`mcinterp verify`."""
    from mcinterp.run import Run
    from mcinterp.run.verifying import verified

    whole = 0
    for line in verified(Run.open(options.run)):
        print(line)
        whole += 1
    print(f"all {whole} files are as they were written")
