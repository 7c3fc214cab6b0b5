"""Files appear whole or not at all: write to a temporary neighbour, flush to disk, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it replaces ``path``, otherwise it is removed.

    The folder is created when missing. Ctrl-C inside the block leaves neither the file nor the temporary.
    Raises EnvironmentLacksError on a full disk and InputError on a path that cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(target)
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` atomically. Errors as for :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 with a trailing newline, atomically. Errors as for :func:`atomic_path`."""
    write_bytes(path, (text if text.endswith("\n") else text + "\n").encode())


def write_error(error: OSError, target: Path) -> HexaquantError:
    """The one-sentence error for a failed write of ``target``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentLacksError(f"the disk is full, {target} was not written; free some space and run again")
    reason = error.strerror or str(error)
    return InputError(f"cannot write {target}: {reason}; choose another place or fix its permissions")


def _flush_to_disk(path: Path) -> None:
    """Wait until the file's bytes are on disk, so that a crash after the rename cannot leave an empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
