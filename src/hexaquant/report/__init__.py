"""The report of an artifact folder: one page of HTML that needs nothing else, and its live view."""

REPORT = "report.html"
"""Name of the page in the folder."""
