"""A profile as the SDK's qnn-profile-viewer prints it, and as rows of its CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import mean
from typing import Any

from hexaquant.qnn.profile import Event, Profile, Stage

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
