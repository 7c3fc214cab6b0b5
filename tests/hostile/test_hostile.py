"""Hostile inputs, one a line: each ends with its exit code and one sentence, soon, small, and leaves nothing behind."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import pytest

from cli.command import hexaquant
from hostile import commands, data, graphs, settings
from hostile.case import Case

CASES = [*graphs.CASES, *settings.cases(), *data.cases(), *commands.cases()]
SECONDS, MEGABYTES = 20, 2048


def test_the_list_is_long_and_says_each_thing_once() -> None:
    names = [(case.what, case.command) for case in CASES]
    assert len(names) >= 300 and len(set(names)) == len(names)


@pytest.mark.parametrize(
    "case", CASES, ids=[case.what[:60].encode("ascii", "backslashreplace").decode() for case in CASES]
)
def test_it_ends_in_one_sentence(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, temporary = tmp_path / "work", tmp_path / "tmp"
    temporary.mkdir()
    case.prepare(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before, start, memory = files(folder), used(), peak()
    done = hexaquant(*case.command)
    assert done.code == case.code, f"{done.code}: {done.err[-600:]}"
    assert "Traceback" not in done.err and "\x1b" not in done.err + done.out
    if case.code:
        last = done.err.strip().splitlines()[-1]
        assert last.startswith("error: ") and case.words in last, last
        assert files(folder) == before and not list(temporary.iterdir())
    assert used() - start < SECONDS
    assert peak() - memory < MEGABYTES << 10


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def used() -> float:
    """CPU seconds of this process and of its children."""
    return sum(os.times()[:4])


def peak() -> int:
    """Kilobytes of this process or of its largest child at their largest."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
