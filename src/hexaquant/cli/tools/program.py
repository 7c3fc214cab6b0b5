"""What Qualcomm's programs have in common: flags, help, versions, exit codes; a flag is obeyed or refused.

Flags are those of the public documentation of the SDK. One that the original has and this package does not is an
error with the reason (exit 2), never ignored.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NoReturn

from hexaquant.cli.console import Console
from hexaquant.cli.exit_codes import guarded
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.qnn.profile import Level

LEVELS = ("error", "warn", "info", "debug", "verbose")
HTP_LIBRARIES = ("libQnnHtp.so", "QnnHtp.dll")
DLC_LIBRARIES = ("libQnnModelDlc.so", "QnnModelDlc.dll")
HTP_ONLY = "only Qualcomm's HTP backend is here"


@dataclass(frozen=True)
class Flag:
    """An option: its spellings and argparse's keywords for it."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]


def flag(*names: str, **settings: Any) -> Flag:
    """``flag("-o", "--output_dir", metavar="DIR", help=...)``."""
    return Flag(names, settings)


@dataclass(frozen=True)
class Program:
    """One program. ``refused``: flag of the original -> why it is not here (a clause)."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    example: str
    refused: Mapping[str, str] = field(default_factory=dict)

    def run(self, argv: Sequence[str] | None, work: Callable[[argparse.Namespace, Messages], None]) -> int:
        """Parse ``argv`` (default: the process's), call ``work``, return the exit code; never raises."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        console = Console(json="--json" in arguments)
        return guarded(console, lambda: self._run(arguments, console, work))

    def _run(self, arguments: list[str], console: Console, work: Callable[[argparse.Namespace, Messages], None]) -> int:
        if not arguments or {"-h", "--help"} & set(arguments):
            print(self.help(), file=console.out if arguments else console.err)
            return 0 if arguments else 2
        if "--version" in arguments:
            print(version_text(self.name), file=console.out)
            return 0
        self._refuse(arguments)
        options = self._parser().parse_args(arguments)
        with contextlib.redirect_stdout(sys.stderr):
            work(options, Messages(console, getattr(options, "log_level", "info")))
        return 0

    def _refuse(self, arguments: Sequence[str]) -> None:
        """Raise InputError for the first flag that only the original has, or that neither has."""
        known = {name for one in self.flags for name in one.names}
        for argument in arguments:
            name = argument.partition("=")[0]
            if name in self.refused:
                raise InputError(
                    f"{name} of Qualcomm's {self.name} is not supported here: {self.refused[name]}; leave it out"
                )
            if name.startswith("--") and name not in known:
                raise InputError(f"there is no option {name}; see {self.name} --help")

    def _parser(self) -> _Parser:
        parser = _Parser(
            prog=self.name,
            description=self.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        for one in self.flags:
            parser.add_argument(*one.names, **one.settings)
        parser.add_argument("--version", action="store_true", help="Print the versions and exit.")
        parser.add_argument("-h", "--help", action="store_true", help="Print this and exit.")
        return parser

    def help(self) -> str:
        """The whole help: flags, an example, and what the original has and this has not."""
        text = self._parser().format_help() + f"\nExample:\n  {self.example}\n"
        if self.refused:
            names = sorted(self.refused, key=lambda name: name.lstrip("-"))
            lines = [f"  {name}: {self.refused[name]}" for name in names]
            text += "\nFlags of the original that are refused (exit 2), never ignored:\n" + "\n".join(lines) + "\n"
        return text + (
            "\nExit codes: 0 done, 2 bad input or usage, 3 refused by the target, 4 something is missing here,\n"
            "70 our bug (HEXAQUANT_DEBUG=1 shows the traceback), 130 interrupted."
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


@dataclass(frozen=True)
class Messages:
    """Text for the human on stderr, as far as --log_level lets it through."""

    console: Console
    level: str

    def _shows(self, level: str) -> bool:
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def warn(self, text: str) -> None:
        if self._shows("warn"):
            self.console.warn(text)

    def info(self, text: str) -> None:
        if self._shows("info"):
            self.console.say(text)

    def debug(self, text: str) -> None:
        if self._shows("debug"):
            self.console.say(text)


LOG_LEVEL = flag(
    "--log_level", choices=LEVELS, default="info", help="What to tell on stderr: error, warn, info, debug or verbose."
)
LIBRARIES = (
    flag("--backend", metavar="LIB", type=Path, help="libQnnHtp.so, the only one here; may be left out."),
    flag("--model", metavar="LIB", type=Path, help="libQnnModelDlc.so, beside --dlc_path; may be left out."),
)
"""Libraries of the SDK, named as there; check_libraries says which are here."""
SOC = flag(
    "--target_soc_model",
    "--soc",
    dest="soc",
    metavar="SOC",
    help="SoC or architecture to compile for (sm8650, SM8650, v75). Default: the one the DLC was made for, where "
    "the manifest.json beside it says so.",
)

PROFILING_LEVEL = flag(
    "--profiling_level",
    metavar="LEVEL",
    help="Write OUTPUT_DIR/qnn-profiling-data_0.log for qnn-profile-viewer: basic (times of whole calls), detailed "
    "(also parts and operators) or client (only what this program itself measures).",
)
PROFILING_REFUSED = "the trace of optrace needs a reader of Qualcomm's SDK; give --profiling_level detailed"


def profiling_level(options: argparse.Namespace) -> Level | None:
    """--profiling_level. Raises InputError for one that the emulator lacks."""
    from hexaquant.qnn.profile import LEVELS

    if options.profiling_level is None:
        return None
    for level in LEVELS:
        if options.profiling_level == level:
            return level
    raise InputError(f"--profiling_level {options.profiling_level} is not here; give {', '.join(LEVELS)}")


def paths_of(text: str) -> list[Path]:
    """ "a.dlc,b.dlc" -> its paths; a path that exists as it is written may hold commas."""
    return [Path(text)] if Path(text).exists() else [Path(part) for part in text.split(",") if part]


def check_libraries(options: argparse.Namespace) -> None:
    """Raise InputError for any other backend than the HTP's, and for a model library: only DLCs are read."""
    backend = options.backend
    model = options.model
    if backend is not None and PurePath(backend).name not in HTP_LIBRARIES:
        raise InputError(f"--backend {backend} is not here: {HTP_ONLY}; give libQnnHtp.so or leave --backend out")
    if model is not None and PurePath(model).name not in DLC_LIBRARIES:
        raise InputError(
            f"--model {model} is a compiled model library, which cannot be read here; "
            "convert the network to a DLC and give --dlc_path"
        )
    if model is not None and options.dlc_path is None:
        raise InputError(f"--model {model} needs --dlc_path; give the DLC")


def version_text(name: str) -> str:
    """One line: this program, this package, Qualcomm's libraries."""
    from importlib.metadata import PackageNotFoundError, version

    from hexaquant import __version__

    try:
        libraries = version("onnxruntime-qnn")
    except PackageNotFoundError:
        libraries = "not installed"
    return f"{name} of hexaquant {__version__} (onnxruntime-qnn {libraries})"
