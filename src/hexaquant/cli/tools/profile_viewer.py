"""``qnn-profile-viewer``: the profile that qnn-net-run or qnn-context-binary-generator wrote, as text, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.tools.program import PROFILING_REFUSED, Messages, Program, flag
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.qnn.profile import Profile

FORMS = (".csv", ".json")
PROGRAM = Program(
    name="qnn-profile-viewer",
    summary="Print the profile of a run or of compiling: times of loading, composing, finalizing and executing, with\n"
    "--profiling_level detailed also of their parts and of each operator. On the emulator execution takes this\n"
    "computer's time, not a device's. Reads what this package's programs wrote.",
    flags=(
        flag("--input_log", metavar="LOG", type=Path, required=True, help="qnn-profiling-data_0.log."),
        flag("--output", metavar="FILE", type=Path, help="Also write every figure to a .csv or .json file."),
        flag("--json", action="store_true", help="Print one JSON document on stdout instead of text."),
        flag("--csv", action="store_true", help="Print CSV on stdout instead of text."),
    ),
    example="qnn-profile-viewer --input_log output/qnn-profiling-data_0.log --output profile.csv",
    refused={
        "--config": PROFILING_REFUSED,
        "--reader": PROFILING_REFUSED,
        "--schematic": PROFILING_REFUSED,
        "--standardized_json_output": "--json has every figure",
        "--extract_opaque_objects": "profiles here hold none",
        "--dlc": PROFILING_REFUSED,
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _show)


def _show(options: argparse.Namespace, tell: Messages) -> None:
    from hexaquant.cli.tools.profile_text import profile_lines
    from hexaquant.core.atomic import write_text
    from hexaquant.qnn.profile import EMULATOR_NOTE, read_profile

    if options.json and options.csv:
        raise InputError("--json and --csv contradict; give one")
    if options.output is not None and options.output.suffix not in FORMS:
        raise InputError(f"--output {options.output} must end in {' or '.join(FORMS)}; rename it")
    profile = read_profile(options.input_log)
    if options.output is not None:
        is_json = options.output.suffix == ".json"
        write_text(options.output, json.dumps(_document(options.input_log, profile)) if is_json else _csv(profile))
        tell.info(f"{options.output}: every figure")
    if profile.of("execute"):
        tell.warn(EMULATOR_NOTE)
    head = [f"Input Log File Location: {options.input_log}", f"Profiling level: {profile.level}", ""]
    text = _csv(profile).rstrip() if options.csv else "\n".join(head + profile_lines(profile))
    tell.console.result(_document(options.input_log, profile), lambda: text)


def _document(path: Path, profile: Profile) -> dict[str, Any]:
    return {"profile": str(path), **asdict(profile)}


def _csv(profile: Profile) -> str:
    from hexaquant.cli.tools.profile_text import COLUMNS, profile_rows

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(profile_rows(profile))
    return buffer.getvalue()
