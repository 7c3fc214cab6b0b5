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


DEVICES: dict[str, str] = {
    "samsung galaxy s21": "sm8350",
    "samsung galaxy s22": "sm8450",
    "samsung galaxy s23": "sm8550",
    "samsung galaxy s24": "sm8650",
    "samsung galaxy s25": "sm8750",
    "xiaomi 12": "sm8450",
    "xiaomi 13": "sm8550",
    "rb3 gen 2": "qcs6490",
    "dragonwing rb3 gen 2": "qcs6490",
}
"""Devices and boards as Qualcomm AI Hub lists them in public, and their SoC."""

_ADDITIONS = ("family", "proxy", "qrd", "crd", "adp", "hdk", "vision kit", "evk", "ultra", "plus", "5g")
"""Words behind a device's name that do not tell which SoC it has."""

DEFAULT_TARGET = "sm8650"
"""For which a network is quantized when no target is named."""


def find_target(name: str | Target) -> Target:
    """The target called ``name``: a SoC ("sm8650", case and a trailing P do not matter), "v75" / "htp_v75", a product
    ("Snapdragon 8 Gen 3") or a device as Qualcomm AI Hub lists it ("Samsung Galaxy S24 (Family)", "rb3gen2").

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
    spelled = _spelled(key)
    for target in TARGETS:
        if spelled.removesuffix("p") == target.name.removesuffix("p"):
            return target
    named = _by_product(spelled)
    if named is not None:
        return named
    names = [t.name for t in TARGETS]
    close = difflib.get_close_matches(key, names, 1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    raise InputError(f"unknown target '{name}'{hint}: known are {', '.join(names)}")


def _by_product(key: str) -> Target | None:
    """The target of a product or device, spelled as :func:`_spelled`."""
    soc = {_spelled(device): soc for device, soc in DEVICES.items()}.get(key)
    products = {_spelled(part): target for target in TARGETS for part in target.product.split(" / ")}
    return next((target for target in TARGETS if target.name == soc), products.get(key))


def _spelled(name: str) -> str:
    """``name`` in small letters and digits alone, without what it may have around it."""
    text = name.lower().replace("(", " ").replace(")", " ").removeprefix("qualcomm ")
    for word in _ADDITIONS:
        text = text.replace(f" {word}", " ")
    return "".join(letter for letter in text if letter.isalnum() or letter == "+")


def target_of_model(model: int) -> Target | None:
    """The target whose SoC id is ``model`` (as stored in a context binary), or None."""
    return next((t for t in TARGETS if t.model == model), None)
