"""``hexaquant doctor``: what this machine has, and whether the whole chain works on it."""

from __future__ import annotations

from typing import Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.core.errors import EnvironmentLacksError

EPILOG = """Examples:

\b
  hexaquant doctor
  hexaquant doctor --json

Exit code 4 when something is missing; the last column says what to do."""


def doctor(context: typer.Context, json: o.JsonOption = False) -> None:
    """Report versions and libraries, and lower, compile, execute and compare a tiny network."""
    console: Console = context.obj
    from hexaquant.cli.checks import examine

    checks = examine()
    lacking = [check for check in checks if not check.ok]
    document: dict[str, Any] = {"ok": not lacking, "checks": [check.to_json() for check in checks]}
    rows = [[c.name, "ok" if c.ok else "MISSING", c.detail, c.remedy] for c in checks]
    console.result(document, lambda: table("", ["check", "", "found", "what to do"], rows))
    if lacking:
        raise EnvironmentLacksError(f"{lacking[0].name}: {lacking[0].detail}; {lacking[0].remedy}")
