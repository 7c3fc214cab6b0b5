"""Entry point of the ``hexaquant`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hexaquant.cli.console import Console
from hexaquant.cli.exit_codes import INTERRUPTED, fail, guarded

COMPLETION = "_HEXAQUANT_COMPLETE"
"""Environment variable by which a shell asks for completions; they leave by SystemExit."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's) and return its exit code; never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console = Console(json="--json" in arguments, arguments=arguments)
    return guarded(console, lambda: _run(arguments, console))


def _run(arguments: list[str], console: Console) -> int:
    import typer
    from typer.main import get_command

    from hexaquant.cli.app import app

    try:
        code = get_command(app)(arguments, prog_name="hexaquant", standalone_mode=False, obj=console)
    except typer.Abort:
        return fail(console, INTERRUPTED, "interrupted")
    except typer.Exit as leave:
        return leave.exit_code
    except SystemExit as leave:
        if COMPLETION not in os.environ:
            raise
        return leave.code if isinstance(leave.code, int) else 0
    except Exception as error:
        if not isinstance(error, typer.BadParameter.__mro__[1]):
            raise
        return fail(console, 2, f"error: {_usage(error)}")
    if code == INTERRUPTED:
        return fail(console, INTERRUPTED, "interrupted")
    return code if isinstance(code, int) else 0


def _usage(error: BaseException) -> str:
    """The sentence of a usage error and where help is."""
    message = " ".join(str(error.format_message()).split()) if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None) or "hexaquant"
    return f"{message.rstrip('.') or 'no command was given'}; see {path} --help"


if __name__ == "__main__":
    sys.exit(main())
