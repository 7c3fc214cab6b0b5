"""An Android device over adb."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hexaquant.bundle.remote.transport import Address, Answer, call, joined, require
from hexaquant.core.errors import EnvironmentLacksError

_LOST = (1, 255)
"""Exit codes of adb's own failures; the programs that run there never end with them."""


class Adb:
    """``timeout_s``: of each command."""

    folder = "/data/local/tmp/hexaquant"

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout = timeout_s
        self._words = ["adb", *(["-s", address.host] if address.host else [])]

    def shell(self, command: str) -> Answer:
        answer = call([*self._words, "shell", command], self._timeout)
        if answer.code in _LOST and answer.err.lstrip().startswith(("error:", "adb:", "* ")):
            raise EnvironmentLacksError(f"no connection to {self._address}, or it was lost: {answer.last_line}")
        return answer

    def push(self, files: Mapping[str, Path], folder: str) -> None:
        require(self, joined(["mkdir", "-p", "--", folder]), "making a folder")
        with tempfile.TemporaryDirectory() as staging:
            for name, path in files.items():
                place = Path(staging) / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)
            self._copy("push", f"{staging}/.", folder)

    def pull(self, folder: str, wanted: Sequence[str]) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as staging:
            self._copy("pull", f"{folder}/.", staging)
            places = {name: Path(staging) / name for name in wanted}
            return {n: p.read_bytes() for n, p in places.items() if p.is_file() and not p.is_symlink()}

    def _copy(self, verb: str, source: str, destination: str) -> None:
        answer = call([*self._words, verb, source, destination], self._timeout)
        if answer.code:
            raise EnvironmentLacksError(f"adb {verb} with {self._address} failed: {answer.last_line}")
