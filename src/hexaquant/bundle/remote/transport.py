"""What a way to a device can do; ssh.py and adb.py are the two ways."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from hexaquant.core.errors import EnvironmentLacksError, InputError

# One command of ssh or adb: how long it may take, and what its end means.


@dataclass(frozen=True)
class Answer:
    """``out`` is empty where the output went into a file."""

    code: int
    out: bytes
    err: str

    @property
    def last_line(self) -> str:
        """What the command said last, for an error message."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip() and not line.startswith("Warning:")]
        return lines[-1] if lines else f"exit code {self.code}"


def call(
    words: Sequence[str], timeout_s: float, *, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
) -> Answer:
    """Run a program of this PC. Raises EnvironmentLacksError when it is not installed or takes longer."""
    if shutil.which(words[0]) is None:
        raise EnvironmentLacksError(f"{words[0]} is not installed here: install it to reach the device")
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentLacksError(
            f"the device did not answer within {timeout_s:g} s: look after it or raise --device-timeout"
        ) from None
    return Answer(done.returncode, done.stdout or b"", done.stderr.decode(errors="replace"))


# How a user names a device: ``ssh:user@host[:port]`` or ``adb[:serial]``.

FORMS = "ssh:user@host, ssh:user@host:port, adb or adb:serial"
_SSH = re.compile(r"(?P<host>(?:[\w.][\w.+-]*@)?(?:[\w.][\w.-]*|\[[0-9A-Fa-f:.]+\]))(?::(?P<port>\d{1,5}))?", re.ASCII)
_SERIAL = re.compile(r"[\w.:][\w.:-]*", re.ASCII)


@dataclass(frozen=True)
class Address:
    """``host``: user@host of ssh, the serial number of adb (empty: the only device). ``port`` None: ssh's default."""

    kind: Literal["ssh", "adb"]
    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.kind + (f":{self.host}" if self.host else "") + (f":{self.port}" if self.port else "")


def parse_address(text: str) -> Address:
    """Raises InputError for anything that is not plainly a device: no word reaches ssh or adb as an option."""
    kind, colon, rest = text.partition(":")
    if kind == "ssh" and (match := _SSH.fullmatch(rest)):
        port = match["port"] and int(match["port"])
        if not port or port < 65536:
            return Address("ssh", match["host"].replace("[", "").replace("]", ""), port or None)
    if kind == "adb" and (not colon or _SERIAL.fullmatch(rest)):
        return Address("adb", rest)
    raise InputError(f"--device {text} is not understood; write {FORMS}")


class Transport(Protocol):
    """Paths on the device have forward slashes. Every method raises EnvironmentLacksError when the way is cut."""

    folder: str
    """Where this package may put folders on the device; may be relative to the home folder."""

    def shell(self, command: str) -> Answer:
        """Run ``command`` in the device's shell."""

    def push(self, files: Mapping[str, Path], folder: str) -> None:
        """Copy local files to the names below ``folder``, with their modes; folders are made."""

    def pull(self, folder: str, wanted: Sequence[str]) -> dict[str, bytes]:
        """The content of the files ``wanted`` below ``folder``; those that do not exist are left out."""


def joined(words: Sequence[str]) -> str:
    """The words as one command for a POSIX shell, each taken literally."""
    return " ".join(shlex.quote(word) for word in words)


def require(transport: Transport, command: str, doing: str) -> str:
    """The output of ``command``. Raises EnvironmentLacksError when it fails."""
    answer = transport.shell(command)
    if answer.code:
        raise EnvironmentLacksError(f"{doing} failed on the device: {answer.last_line}")
    return answer.out.decode(errors="replace")
