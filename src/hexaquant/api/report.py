"""hq.report: one page of HTML with everything that an artifact folder knows."""

from __future__ import annotations

from pathlib import Path

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.report import REPORT
from hexaquant.report.document import report_data
from hexaquant.report.plotly_script import INSTALL, is_installed, require_installed
from hexaquant.report.render import render
from hexaquant.report.sources import read_sources


def write_report(folder: str | Path, file: str | Path | None = None) -> Path:
    """Write the report of the artifact folder to ``file`` (default: report.html in it) and return its path.

    What the folder lacks is a line that names the command for it. Raises InputError for what is no artifact folder,
    EnvironmentLacksError without the extra [report].
    """
    require_installed()
    out = Path(folder)
    if not out.is_dir():
        raise InputError(f"there is no artifact folder {out}; run hexaquant deploy first or check the path")
    sources = read_sources(out)
    if sources.manifest is None:
        reason = sources.problems[0] if sources.problems else f"{out} has no manifest.json"
        raise InputError(f"{reason}: run hexaquant deploy or quantize first")
    path = out / REPORT if file is None else Path(file)
    write_text(path, render(report_data(sources)))
    return path


def report_if_installed(folder: str | Path, events: Events | None = None) -> Path | None:
    """The report, or None and a note when the extra is not installed."""
    if is_installed():
        return write_report(folder)
    (events or Events()).note("report", f"no report.html: {INSTALL}")
    return None
