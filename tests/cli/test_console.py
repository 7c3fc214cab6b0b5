"""Manners: results on stdout, text on stderr, bars and colour only on a terminal, one sentence for a bug."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import threading
from pathlib import Path

import pytest

from cli.command import hexaquant
from hexaquant.cli.exit_codes import system_error
from hexaquant.cli.main import main


class Terminal:
    """A pseudo-terminal that is read to the end."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w")
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self._master, 4096):
                self._read.append(piece)

    def text(self) -> str:
        self.stream.close()
        self._reader.join(10)
        os.close(self._master)
        return b"".join(self._read).decode()


def on_terminal(*arguments: object) -> tuple[int, str]:
    """Exit code and what a terminal on stderr received."""
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal.stream), open(os.devnull, "w") as out, contextlib.redirect_stdout(out):  # noqa: PTH123
        code = main([str(argument) for argument in arguments])
    return code, terminal.text()


def test_bars_with_time_estimate_on_a_terminal_only(
    room: Path, deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = ["verify", deployed, "--data", room / "data.npz"]
    code, shown = on_terminal(*command)
    assert code == 0 and "verify" in shown and "10/10" in shown and "left" in shown and "\x1b[" in shown
    piped = hexaquant(*command)
    assert "\x1b" not in piped.err + piped.out and "verify: 10 in" in piped.err


def test_no_color_is_honoured(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = ["quantize", net, "--random-data", "-o", tmp_path / "out"]
    assert "\x1b[1;31m" in on_terminal(*command)[1], "random data is announced in red"
    monkeypatch.setenv("NO_COLOR", "1")
    code, plain = on_terminal(*command)
    assert code == 0 and "RANDOM DATA" in plain and "31m" not in plain


def test_error_with_json_is_one_document() -> None:
    result = hexaquant("info", "nowhere.dlc", "--json")
    result.assert_refused(2, "nowhere.dlc")
    assert result.document["exit_code"] == 2 and "nowhere.dlc" in result.document["error"]


def _break(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("hexaquant.cli.describe.describe", broken)


def test_a_bug_is_one_sentence_and_the_way_to_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, ZeroDivisionError("division\nby zero"))
    monkeypatch.delenv("HEXAQUANT_DEBUG", raising=False)
    result = hexaquant("info", "x.onnx")
    result.assert_refused(70, "ZeroDivisionError: division by zero", "HEXAQUANT_DEBUG=1")
    monkeypatch.setenv("HEXAQUANT_DEBUG", "1")
    assert "Traceback" in hexaquant("info", "x.onnx").err


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, KeyboardInterrupt())
    result = hexaquant("info", "x.onnx", "--json")
    assert result.code == 130 and result.err.strip() == "interrupted"
    assert result.document == {"error": "interrupted", "exit_code": 130}


@pytest.mark.parametrize(
    "number, code",
    [("ENOSPC", 4), ("EDQUOT", 4), ("EFBIG", 4), ("EACCES", 2), ("EROFS", 2), ("ENOENT", 2), ("EIO", None)],
)
def test_what_the_system_refuses(number: str, code: int | None) -> None:
    import errno

    error = system_error(OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "out/model.onnx"))
    assert (error.exit_code if error else None) == code
    assert error is None or "out/model.onnx" in str(error)


def test_stdout_of_json_is_only_json(room: Path, deployed: Path) -> None:
    json.loads(hexaquant("info", deployed, "--json").out)
    json.loads(hexaquant("verify", deployed, "--data", room / "data.npz", "--json").out)
