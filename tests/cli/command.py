"""Runs the command line in this process."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from hexaquant.cli.main import main


@dataclass(frozen=True)
class Result:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as the one JSON document it must be."""
        return json.loads(self.out)

    def assert_refused(self, code: int, *words: str) -> None:
        """The exit code, and stderr that ends in one sentence with ``words`` and holds no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        last = self.err.strip().splitlines()[-1]
        assert last.startswith("error: "), self.err
        for word in words:
            assert word in last, f"{word!r} is not in: {last}"


def hexaquant(*arguments: object) -> Result:
    """``hexaquant arguments...``"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())
