"""Targets: SoCs, their Hexagon architecture and the id by which Qualcomm's libraries know them.

Ids and architectures are those of the public documentation of the QNN SDK ("Supported Snapdragon devices").
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from hexaquant.core.errors import InputError


@dataclass(frozen=True)
class Target:
    """One SoC. ``model``: the SDK's SoC id; ``arch``: Hexagon version (68 = v68); ``vtcm_mb``: fast memory, MB."""

    name: str
    model: int
    arch: int
    vtcm_mb: int
    product: str

    @property
    def arch_name(self) -> str:
        return f"v{self.arch}"

    @property
    def has_float16(self) -> bool:
        """From v69 on. For v68 the emulator computes float networks in float32, which no device with it can."""
        return self.arch >= 69

    def __str__(self) -> str:
        return f"{self.name} (Hexagon {self.arch_name}, {self.product})"


TARGETS: tuple[Target, ...] = (
    Target("sm8350", 30, 68, 4, "Snapdragon 888"),
    Target("qcs6490", 35, 68, 2, "QCS6490 / QCM6490"),
    Target("sa8295p", 39, 68, 8, "Snapdragon Cockpit Gen 4"),
    Target("sm8450", 36, 69, 8, "Snapdragon 8 Gen 1"),
    Target("sm8475", 42, 69, 8, "Snapdragon 8+ Gen 1"),
    Target("sm8550", 43, 73, 8, "Snapdragon 8 Gen 2"),
    Target("sa8255p", 52, 73, 8, "Snapdragon Ride / Cockpit SA8255P"),
    Target("sc8380xp", 60, 73, 8, "Snapdragon X Elite"),
    Target("qcs8550", 66, 73, 8, "QCS8550"),
    Target("qcs9100", 77, 73, 8, "Dragonwing IQ-9"),
    Target("sm8650", 57, 75, 8, "Snapdragon 8 Gen 3"),
    Target("sm8750", 69, 79, 8, "Snapdragon 8 Elite"),
    Target("sm8850", 87, 81, 8, "Snapdragon 8 Elite Gen 5"),
)

ARCHITECTURES: dict[int, str] = {
    68: "sm8350",
    69: "sm8450",
    73: "sm8550",
    75: "sm8650",
    79: "sm8750",
    81: "sm8850",
}
"""Each architecture and the SoC that stands for it when only "v75" is given."""


DEFAULT_TARGET = "sm8650"
"""For which a network is quantized when no target is named."""


def find_target(name: str | Target) -> Target:
    """The target called ``name``: a SoC ("sm8650", case and a trailing P do not matter) or "v75" / "htp_v75".

    Raises InputError listing what exists.
    """
    if isinstance(name, Target):
        return name
    key = name.lower().strip().removeprefix("htp_")
    if key.startswith("v") and key[1:].isdigit():
        if int(key[1:]) not in ARCHITECTURES:
            known = ", ".join(f"v{a}" for a in ARCHITECTURES)
            raise InputError(f"unknown Hexagon architecture '{name}': known are {known}")
        key = ARCHITECTURES[int(key[1:])]
    for target in TARGETS:
        if key.removesuffix("p") == target.name.removesuffix("p"):
            return target
    names = [t.name for t in TARGETS]
    close = difflib.get_close_matches(key, names, 1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    raise InputError(f"unknown target '{name}'{hint}: known are {', '.join(names)}")


def target_of_model(model: int) -> Target | None:
    """The target whose SoC id is ``model`` (as stored in a context binary), or None."""
    return next((t for t in TARGETS if t.model == model), None)
