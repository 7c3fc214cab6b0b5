"""A full disk: one sentence, exit 4, no half-written file."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command import hexaquant


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a file system of 24 KiB; where mounting is not allowed, one whose writes fail as on a full disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = _mount(disk)
    if not mounted:
        monkeypatch.setattr(os, "fsync", _fail_as_on_a_full_disk)
    yield disk
    if mounted:
        subprocess.run(["umount", disk], check=True)


def _mount(disk: Path) -> bool:
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _fail_as_on_a_full_disk(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def temporary_files(folder: Path) -> list[Path]:
    return [f for f in folder.rglob("*") if f.is_file() and (f.name.startswith(".") or f.suffix in (".tmp", ".part"))]


def test_deploy(net: Path, data: Path, full_disk: Path) -> None:
    result = hexaquant("deploy", net, "--data", data, "-o", full_disk / "out")
    result.assert_refused(4, "disk is full", "free")
    assert temporary_files(full_disk) == []


def test_results_of_run(deployed: Path, full_disk: Path, tmp_path: Path) -> None:
    import numpy as np

    from cli.tiny import samples

    np.save(tmp_path / "x.npy", samples(10))
    (full_disk / "filler").write_bytes(b"\0" * 12_000)
    result = hexaquant("run", deployed, "--input", f"x={tmp_path / 'x.npy'}", "-o", full_disk / "results")
    result.assert_refused(4, "disk is full")
    assert temporary_files(full_disk) == []


def test_compile(deployed: Path, full_disk: Path) -> None:
    """The folder fits, the context binary does not."""
    folder = full_disk / "out"
    result = _copied(deployed, folder)
    result.assert_refused(4, "disk is full")
    assert temporary_files(folder) == [] and not (folder / "model.sm8650.bin").exists()


def _copied(deployed: Path, folder: Path) -> object:
    folder.mkdir()
    for name in ("manifest.json", "model.qdq.onnx"):
        shutil.copyfile(deployed / name, folder / name)
    return hexaquant("compile", folder)
