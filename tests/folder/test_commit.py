"""A folder's files change together: an error changes nothing, a change cut short is completed by whoever comes next."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hexaquant.folder.commit import READY, commit, complete

CUT_SHORT = """
import os, signal, sys
from pathlib import Path
from hexaquant.folder.commit import commit
moves, replace = [], Path.replace
def counted(self, place):
    if "commit" in str(self):
        moves.append(self)
        if len(moves) > int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, place)
Path.replace = counted
with commit(Path(sys.argv[1]), ["checkpoint"]) as draft:
    for name in ("a", "manifest.json", "b/c"):
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_text("new")
"""


def folder_with(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "b").mkdir(parents=True)
    for name in ("a", "manifest.json", "b/c", "checkpoint", "other"):
        (folder / name).write_text("old")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_killed_between_two_files_the_next_one_completes_it(tmp_path: Path, moved: int) -> None:
    folder = folder_with(tmp_path)
    child = subprocess.run([sys.executable, "-c", CUT_SHORT, str(folder), str(moved)], check=False)
    assert child.returncode == (-signal.SIGKILL if moved < 3 else 0)
    if moved < 3:
        assert (folder / "manifest.json").read_text() == "old", "the manifest comes last"
        assert (folder / READY).is_dir()
    complete(folder)
    assert contents(folder) == {"a": "new", "manifest.json": "new", "b/c": "new", "other": "old"}


def test_after_an_error_nothing_has_changed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    before = contents(folder)
    with pytest.raises(ZeroDivisionError), commit(folder, ["checkpoint"]) as draft:
        (draft / "a").write_text("new")
        raise ZeroDivisionError
    assert contents(folder) == before


def test_a_draft_starts_with_the_manifest_and_leftovers_are_gone(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    (folder / ".state" / "draft").mkdir(parents=True)
    (folder / ".state" / "draft" / "half").write_text("written")
    with commit(folder) as draft:
        assert contents(draft) == {"manifest.json": "old"}
    assert "half" not in contents(folder)
