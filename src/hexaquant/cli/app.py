"""The command tree."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import typer

from hexaquant.cli import (
    analyze,
    auto,
    bundle,
    compare_converters,
    debug,
    deploy,
    doctor,
    estimate,
    export,
    info,
    lint,
    llm,
    mixed,
    qat,
    quantize,
    report,
    run,
    verify,
)
from hexaquant.cli import compile as compile_
from hexaquant.cli.option_groups import GroupedCommand

HELP = "Neural networks onto Qualcomm's Hexagon NPU without losing accuracy: quantize, compile, verify."

EPILOG = """Examples:

\b
  hexaquant deploy net.onnx --data calib.npz --target sm8650 -o out
  hexaquant info out
  hexaquant doctor

Exit codes: 0 done, 1 threshold missed, 2 bad input or usage, 3 refused by the target, 4 something is missing here,
70 our bug (HEXAQUANT_DEBUG=1 shows the traceback), 130 interrupted."""

app = typer.Typer(
    name="hexaquant",
    help=HELP,
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and exit.")
) -> None:
    if version:
        from hexaquant import __version__

        print(__version__, file=context.obj.out)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help(), file=context.obj.err)
        raise typer.Exit(2)


def _register(function: Callable[..., None], epilog: str, name: str = "", to: typer.Typer = app) -> None:
    """Add a command, during which ``print`` goes to stderr: what the user's code or a library says is no result."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            function(*args, **kwargs)

    summary = " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())  # whole: click cuts its own
    to.command(name or function.__name__, cls=GroupedCommand, epilog=epilog, short_help=summary)(command)


_register(deploy.deploy, deploy.EPILOG)
_register(auto.auto, auto.EPILOG)
_register(lint.lint, lint.EPILOG)
_register(quantize.quantize, quantize.EPILOG)
_register(mixed.mixed, mixed.EPILOG)
_register(qat.qat, qat.EPILOG)
_register(export.export, export.EPILOG)
_register(compile_.compile_command, compile_.EPILOG, "compile")
_register(bundle.bundle, bundle.EPILOG)
_register(run.run, run.EPILOG)
_register(verify.verify, verify.EPILOG)
_register(analyze.analyze, analyze.EPILOG)
_register(debug.debug, debug.EPILOG)
_register(report.report, report.EPILOG)
_register(estimate.estimate, estimate.EPILOG)
_register(compare_converters.compare_converters, compare_converters.EPILOG, "compare-converters")
_register(info.info, info.EPILOG)
_register(doctor.doctor, doctor.EPILOG)

language_models = typer.Typer(help=llm.HELP, rich_markup_mode=None, no_args_is_help=True)
for _name, _function, _epilog in llm.COMMANDS:
    _register(_function, _epilog, _name, language_models)
app.add_typer(language_models, name="llm", short_help=llm.HELP, epilog=llm.EPILOG)
