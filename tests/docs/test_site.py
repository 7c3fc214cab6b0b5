"""The site builds without a warning, asks no other host for anything, and has a page for all that users can call."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hexaquant
from docs_pages import write_sources
from docs_site.commands import commands
from docs_site.interface import groups
from docs_site.programs import programs

ROOT = Path(__file__).parents[2]
RESOURCE = re.compile(
    r"<(?:script|link|img|iframe|source|object)\b[^>]*?\b(?:src|href|data)=[\"']?(?:https?:)?//[^>]*>"
)
STYLE = re.compile(r"url\(\s*[\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    config = write_sources(tmp_path_factory.mktemp("sources"))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not RESOURCE.findall(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        assert not STYLE.findall(sheet.read_text(encoding="utf-8")), sheet


def test_every_command_has_a_page_with_all_its_options(site: Path) -> None:
    for name, command in commands().items():
        page = text_of(site / "reference" / "commands" / f"{name}.html")
        missing = [
            form for parameter in command.params for form in parameter.opts if form[0] == "-" and form not in page
        ]
        assert not missing, f"{name}: {missing}"


def test_every_program_has_a_page_and_every_flag_a_verdict(site: Path) -> None:
    table = text_of(site / "migration" / "qualcomm.html")
    for name, program in programs().items():
        page = text_of(site / "reference" / "programs" / f"{name}.html")
        flags = [form for flag in program.flags for form in flag.names] + list(program.refused)
        missing = [flag for flag in flags if flag not in page or flag not in table]
        assert not missing, f"{name}: {missing}"


def test_every_public_name_is_explained(site: Path) -> None:
    shown = "".join(text_of(page) for page in (site / "reference" / "python").glob("*.html"))
    assert {name for names in groups().values() for name in names} == set(hexaquant.__all__) - {"__version__"}
    assert not [name for name in hexaquant.__all__ if name != "__version__" and f"hq.{name}" not in shown]


def text_of(page: Path) -> str:
    """The text of a page without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))
