"""The report of a run: model card, HTML page and the verdict."""

from platon_compress.benchmarks.report.verdict import Verdict, judge
from platon_compress.benchmarks.report.writing import ReportResult, write_report

__all__ = ["ReportResult", "Verdict", "judge", "write_report"]
