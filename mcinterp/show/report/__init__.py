"""The report of runs: one HTML file that opens from disk without a network, the scripts in it once."""

from mcinterp.show.report.page import write_report

__all__ = ["write_report"]
