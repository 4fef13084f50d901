"""A run is a directory: what was asked (`run.json`), one NetCDF file per analysis, a summary and a report."""

from mcinterp.run.directory import REPORT, RUN, SUMMARY, Run

__all__ = ["REPORT", "RUN", "SUMMARY", "Run"]
