"""A device over ssh: one connection a command, files as tar streams."""

from __future__ import annotations

import os
import shlex
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from hexaquant.bundle.remote.transport import Address, Answer, call, joined
from hexaquant.core.errors import EnvironmentLacksError

PROGRAM = "HEXAQUANT_SSH"
"""Environment variable: the ssh program with options of the user's, e.g. "ssh -F lab.config" (default "ssh")."""
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=5", "ServerAliveCountMax=3")
_LOST = 255
"""ssh's exit code for its own failures."""


class Ssh:
    """``timeout_s``: of each command."""

    folder = ".cache/hexaquant"

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout = timeout_s
        program = shlex.split(os.environ.get(PROGRAM) or "ssh")
        options = [word for option in _OPTIONS for word in ("-o", option)]
        port = ["-p", str(address.port)] if address.port else []
        self._words = [*program, "-T", *options, *port, "--", address.host]

    def shell(self, command: str) -> Answer:
        return self._call(command)

    def _call(self, command: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> Answer:
        answer = call([*self._words, command], self._timeout, stdin=stdin, stdout=stdout)
        if answer.code == _LOST or answer.code < 0:
            raise EnvironmentLacksError(f"no connection to {self._address}, or it was lost: {answer.last_line}")
        return answer

    def push(self, files: Mapping[str, Path], folder: str) -> None:
        with tempfile.TemporaryFile() as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                for name, path in files.items():
                    archive.add(path.resolve(), name, recursive=False, filter=_anonymous)
            stream.seek(0)
            make = joined(["mkdir", "-p", "--", folder])
            unpack = joined(["tar", "-C", folder, "-xf", "-"])
            answer = self._call(f"{make} && {unpack}", stdin=stream)
        if answer.code:
            raise EnvironmentLacksError(f"copying to {self._address} failed: {answer.last_line}")

    def pull(self, folder: str, wanted: Sequence[str]) -> dict[str, bytes]:
        with tempfile.TemporaryFile() as stream:
            answer = self._call(joined(["tar", "-C", folder, "-cf", "-", "."]), stdout=stream)
            if answer.code:
                raise EnvironmentLacksError(f"copying from {self._address} failed: {answer.last_line}")
            stream.seek(0)
            return _members(stream, set(wanted))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _members(stream: IO[bytes], wanted: set[str]) -> dict[str, bytes]:
    """Regular files of an archive by name; nothing else in it is looked at, nothing is written."""
    found = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                file = archive.extractfile(member) if member.isreg() and name in wanted else None
                if file is not None:
                    found[name] = file.read()
    except tarfile.TarError as error:
        raise EnvironmentLacksError(f"the device sent damaged results ({error}); run again") from None
    return found
