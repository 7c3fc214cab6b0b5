"""The folder that a command works on: ours, writable, and nobody else's meanwhile. All before any work.

The lock is the operating system's on the folder itself (flock): it leaves no file and ends with its process, however
that ends. Where there is none (Windows), two commands on one folder are not kept apart.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hexaquant.core.atomic import write_error
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import NAME

STATE = ".state"
"""An artifact folder has a manifest, or this from a run that was interrupted before there was one."""


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made when missing and removed again if it stays empty.

    Raises InputError when it is no folder, not writable, holds files that no hexaquant wrote, or is being worked on.
    """
    made = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_ours(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise write_error(error, folder) from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()
        os.close(descriptor)


def _missing(folder: Path) -> list[Path]:
    """``folder`` and those above it that do not exist, the deepest first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _require_ours(folder: Path) -> None:
    if (folder / NAME).exists() or (folder / STATE).is_dir():
        return
    stranger = next(iter(sorted(folder.iterdir())), None)
    if stranger is not None:
        raise InputError(
            f"{folder} is not an artifact folder: it holds '{stranger.name}' and no {NAME}; give a new one, or one "
            "that hexaquant made"
        )


def _lock(descriptor: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{folder} is being worked on by {_holder(descriptor)}; wait until it has ended, or give another folder"
        ) from None
    except OSError:
        return  # a file system without locks


def _holder(descriptor: int) -> str:
    """Who holds the lock, as Linux tells it."""
    inode = os.fstat(descriptor).st_ino
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                return f"process {words[4]}"
    return "another process"
