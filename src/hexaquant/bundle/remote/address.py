"""How a user names a device: ``ssh:user@host[:port]`` or ``adb[:serial]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hexaquant.core.errors import InputError

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
