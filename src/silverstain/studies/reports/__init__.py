"""A study's report: JSON, Markdown, a page, and figures."""

from .telling import markdown, page, verdict_line
from .writing import read_report, write_report

__all__ = ["markdown", "page", "read_report", "verdict_line", "write_report"]
