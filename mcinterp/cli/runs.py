"""Verbs that work on a run that was written before: `mcinterp report` and `mcinterp figures`."""

import argparse


def add_report(verb: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    verb.add_argument("run", metavar="RUN_DIR", help="a directory that a run was written into")
    verb.set_defaults(call=run_report)


def add_figures(verb: argparse.ArgumentParser) -> None:
    """Arguments of `figures`."""
    verb.add_argument("run", metavar="RUN_DIR", help="a directory that a run was written into")
    verb.add_argument("--out", metavar="DIR", required=True, help="where the pictures are written")
    verb.set_defaults(call=run_figures)


def run_report(options: argparse.Namespace) -> None:
    """`mcinterp report`."""
    from mcinterp.run import Run
    from mcinterp.show.report import write_report

    print(write_report(Run.open(options.run)))


def run_figures(options: argparse.Namespace) -> None:
    """`mcinterp figures`."""
    from mcinterp.run import Run
    from mcinterp.show.gallery import write_figures

    for path in write_figures(Run.open(options.run), options.out):
        print(path)
