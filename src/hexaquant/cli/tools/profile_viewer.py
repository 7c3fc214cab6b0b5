"""``qnn-profile-viewer``: the profile that qnn-net-run or qnn-context-binary-generator wrote, as text, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from hexaquant.cli.tools.program import PROFILING_REFUSED, Messages, Program, flag
from hexaquant.core.errors import InputError
from hexaquant.qnn.profile import Event, Profile, Stage

# A profile as the SDK's qnn-profile-viewer prints it, and as rows of its CSV.

COLUMNS = (
    "Msg Timestamp",
    "Message",
    "Time",
    "Unit of Measurement",
    "Timing Source",
    "Event Level",
    "Event Identifier",
)
_TITLES = {"init": "Init Stats", "compose": "Compose Graphs Stats", "finalize": "Finalize Stats"}
_MESSAGES = {"init": "INIT", "compose": "COMPOSE GRAPHS", "finalize": "FINALIZE", "execute": "EXECUTE"}
_FIGURES: tuple[tuple[str, Callable[[Sequence[int]], float]], ...] = (("Average", mean), ("Min", min), ("Max", max))


def profile_lines(profile: Profile) -> list[str]:
    """The text: one block a kind of call, executions as average, minimum, maximum and inferences a second."""
    lines = ["Qnn Init/Prepare/Finalize/De-Init/Execute/Lib-Load Statistics:", "-" * 60]
    for kind, title in _TITLES.items():
        stages = profile.of(kind)
        if stages:
            lines += ["", f"{title}:", "-" * (len(title) + 1)]
        for index, stage in enumerate(stages):
            lines += [f"Graph {index} ({stage.graph}):"] if kind == "finalize" or len(stages) > 1 else []
            lines += _figures(stage.us, stage.events)
    for name, combine in _FIGURES:
        lines += _executions(profile, f"Execute Stats ({name})", combine)
    executed = profile.of("execute")
    if executed:
        rate = 1e6 * len(executed) / max(sum(stage.us for stage in executed), 1)
        lines += ["", "Execute Stats (Overall):", "-" * 24, f"    NetRun IPS:  {rate:.4f} inf/sec"]
    return lines


def _executions(profile: Profile, title: str, combine: Callable[[Sequence[int]], float]) -> list[str]:
    """One block of executions, each figure ``combine``d over those of a graph."""
    runs = by_graph(profile)
    if not runs:
        return []
    lines = ["", f"{title}:", "-" * (len(title) + 1), "Total Inference Time:", "-" * 21]
    for index, (graph, stages) in enumerate(runs.items()):
        whole = combined(stages, combine)
        lines += [f"Graph {index} ({graph}):", *_figures(whole.us, whole.events)]
    return lines


def by_graph(profile: Profile) -> dict[str, list[Stage]]:
    """The executions of each graph."""
    found: dict[str, list[Stage]] = {}
    for stage in profile.of("execute"):
        found.setdefault(stage.graph, []).append(stage)
    return found


def combined(stages: Sequence[Stage], combine: Callable[[Sequence[int]], float]) -> Stage:
    """One stage whose figures are those of ``stages`` (of one graph, so with the same events) combined."""
    events = _combined([stage.events for stage in stages], combine)
    return Stage(stages[0].kind, stages[0].graph, round(combine([stage.us for stage in stages])), events)


def _combined(trees: Sequence[tuple[Event, ...]], combine: Callable[[Sequence[int]], float]) -> tuple[Event, ...]:
    found = []
    for same in zip(*trees):
        parts = _combined([event.parts for event in same], combine)
        value = round(combine([event.value for event in same]))
        found.append(Event(same[0].type, same[0].unit, value, same[0].name, parts))
    return tuple(found)


def _figures(us: int, events: Sequence[Event]) -> list[str]:
    return [f"    NetRun:  {us} us", *(line for event in events for line in _lines(event, 1))]


def _lines(event: Event, depth: int) -> Iterator[str]:
    name = f"Backend ({event.name})" if depth == 1 else event.name
    yield f"{'    ' * depth}{name}: {event.value} {event.unit}".rstrip()
    for part in event.parts:
        yield from _lines(part, depth + 1)


def profile_rows(profile: Profile) -> list[list[Any]]:
    """Rows for :data:`COLUMNS`; the time stamp is empty: profiles here hold durations only."""
    rows: list[list[Any]] = []
    for stage in profile.stages:
        message = _MESSAGES[stage.kind]
        rows.append(["", message, stage.us, "US", "NETRUN", "ROOT", stage.graph])
        for event in stage.events:
            rows += _rows(event, message, "ROOT")
    return rows


def _rows(event: Event, message: str, level: str) -> Iterator[list[Any]]:
    message = "NODE" if level != "ROOT" else message
    yield ["", message, event.value, event.unit.upper(), "BACKEND", level, event.name]
    for part in event.parts:
        yield from _rows(part, message, "SUB-EVENT")


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

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(profile_rows(profile))
    return buffer.getvalue()
