"""Profiles as plain values: what the library measured of each stage of a graph's life, as a tree of events.

A profile file (``qnn-profiling-data_0.log``) is one JSON document. Qualcomm's own file of that name is binary, in a
format without public description; its reader and this package's cannot read each other's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError

Level = Literal["basic", "detailed", "client"]
LEVELS: tuple[Level, ...] = ("basic", "detailed", "client")
"""basic: times of whole calls; detailed: also parts, operators, estimates; client: only what this program measures."""
CODES = {"basic": 1, "detailed": 2}
"""QnnProfile_Level_t."""
UNITS = {1: "us", 2: "bytes", 3: "cycles", 4: "count"}
"""QnnProfile_EventUnit_t; others have no name here."""
FORMAT = "hexaquant-profile-1"
FILE = "qnn-profiling-data_0.log"
EMULATOR_NOTE = (
    "times and cycles of execution are this computer's emulating the NPU, not a device's; hexaquant estimate gives "
    "Qualcomm's estimate for the SoCs that have one"
)


@dataclass(frozen=True)
class Event:
    """One figure. ``type``: QnnProfile_EventType_t; ``unit``: us, cycles, bytes, count or empty."""

    type: int
    unit: str
    value: int
    name: str
    parts: tuple[Event, ...] = ()

    @staticmethod
    def from_json(data: dict[str, Any]) -> Event:
        parts = tuple(Event.from_json(part) for part in data["parts"])
        return Event(data["type"], data["unit"], data["value"], data["name"], parts)


@dataclass(frozen=True)
class Stage:
    """One call. ``kind``: init, compose, finalize or execute; ``us``: its duration as the caller saw it."""

    kind: str
    graph: str
    us: int
    events: tuple[Event, ...] = ()

    @staticmethod
    def from_json(data: dict[str, Any]) -> Stage:
        return Stage(data["kind"], data["graph"], data["us"], tuple(Event.from_json(e) for e in data["events"]))


@dataclass(frozen=True)
class Profile:
    """``program``: what wrote it; ``soc_model``: Qualcomm's number of the SoC that the graphs were compiled for."""

    program: str
    level: str
    soc_model: int
    stages: tuple[Stage, ...]

    def of(self, kind: str) -> list[Stage]:
        """The stages of one kind, in order."""
        return [stage for stage in self.stages if stage.kind == kind]


def stages_from_json(data: Sequence[dict[str, Any]]) -> tuple[Stage, ...]:
    return tuple(Stage.from_json(stage) for stage in data)


def write_profile(path: Path, profile: Profile) -> None:
    """Write the profile file; atomic."""
    write_text(path, json.dumps({"format": FORMAT, **asdict(profile)}))


def read_profile(path: Path) -> Profile:
    """The profile at ``path``. Raises InputError for anything else than a profile of this package."""
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise ValueError
        return Profile(data["program"], data["level"], data["soc_model"], stages_from_json(data["stages"]))
    except FileNotFoundError:
        raise InputError(f"there is no profile {path}; run qnn-net-run with --profiling_level basic first") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is no profile of this package (Qualcomm's own logs are binary and only the SDK's "
            "qnn-profile-viewer reads them); give the file that --profiling_level wrote"
        ) from None
