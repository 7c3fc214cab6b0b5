"""Schemes: the bit widths of weights and activations under one name, and what a target can execute."""

from __future__ import annotations

from dataclasses import dataclass

from hexaquant.core.errors import InputError, TargetError
from hexaquant.htp.soc import Target


@dataclass(frozen=True)
class Scheme:
    """``weight_bits`` and ``act_bits`` of integer schemes; both 16 with ``is_float`` for fp16."""

    name: str
    weight_bits: int
    act_bits: int
    is_float: bool = False

    @property
    def symmetric_activations(self) -> bool:
        """16-bit weights need symmetric activations too: the kernels multiply int16 x int16."""
        return self.weight_bits == 16 and not self.is_float


SCHEMES: dict[str, Scheme] = {
    "w8a8": Scheme("w8a8", 8, 8),
    "w8a16": Scheme("w8a16", 8, 16),
    "w4a8": Scheme("w4a8", 4, 8),
    "w4a16": Scheme("w4a16", 4, 16),
    "w16a16": Scheme("w16a16", 16, 16),
    "fp16": Scheme("fp16", 16, 16, is_float=True),
}


ALIASES = {"int8": "w8a8", "float16": "fp16", "half": "fp16", "int16": "w16a16"}
"""What others call a scheme: onnxruntime, AI Hub, TFLite."""

DEFAULT_SCHEME = "w8a8"
"""In which a network is quantized when no scheme is named."""


def find_scheme(name: str | Scheme) -> Scheme:
    """The scheme called ``name``. Raises InputError listing what exists."""
    if isinstance(name, Scheme):
        return name
    key = name.lower().strip()
    scheme = SCHEMES.get(ALIASES.get(key, key))
    if scheme is None:
        hint = "; 4 bits are w4a16 or w4a8" if "4" in key else ""
        raise InputError(f"unknown scheme '{name}': known are {', '.join(SCHEMES)}{hint}")
    return scheme


def activation_bits(name: str) -> int | None:
    """Of the scheme ``name`` ("w8a16", "w4a8 per tensor"); None in float16."""
    bits = name.partition(" ")[0].rpartition("a")[2]
    return int(bits) if bits.isdigit() else None


def check_scheme(scheme: Scheme, target: Target) -> None:
    """Raise TargetError, with the reason and the remedy, when ``target`` cannot execute ``scheme``."""
    problem = scheme_problem(scheme, target)
    if problem:
        raise TargetError(problem)


def scheme_problem(scheme: Scheme, target: Target) -> str:
    """Why ``target`` cannot execute ``scheme``, with the remedy; empty when it can."""
    if scheme.name == "w16a16" and target.arch < 73:
        return (
            f"{target.name} (Hexagon {target.arch_name}) has no kernels for 16-bit weights: "
            "use w8a16, or a target from v73 on (sm8550 and later)"
        )
    if scheme.is_float and not target.has_float16:
        return (
            f"{target.name} (Hexagon {target.arch_name}) has no float16: quantize with w8a16 or w8a8, or name a target "
            "from v69 on (sm8450 and later)"
        )
    return ""


def scheme_warnings(scheme: Scheme, target: Target) -> list[str]:
    """What works on ``target`` but not as well as the scheme's name says."""
    if scheme.act_bits == 16 and not scheme.is_float and target.arch < 73:
        return [
            f"{target.name} (Hexagon {target.arch_name}) multiplies 16-bit activations on a low-precision path: "
            "outputs are accurate to about 20 steps of 16 bits, not to 1"
        ]
    return []
