"""Rotary embeddings: what Genie can compute from its configuration, told by comparing numbers with the module's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hexaquant.llm.static_decoder import layer_kinds, rotary_modules, rotary_values

TOLERANCE = 1e-4
"""Largest difference of a cosine or sine that float32 arithmetic explains at the positions compared."""


@dataclass(frozen=True)
class Rope:
    """A rotary embedding as Genie has it: ``width`` R dimensions, base ``theta``, ``scaling`` (its JSON) or None."""

    width: int
    theta: float
    scaling: dict[str, Any] | None = None

    def frequencies(self) -> Tensor:
        """(R / 2,) float64."""
        plain = self.theta ** (-torch.arange(0, self.width, 2, dtype=torch.float64) / self.width)
        return plain if self.scaling is None else _llama3(plain, self.scaling)

    def values(self, positions: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine (positions, R / 2), float32, of the positions 0, 1, ..."""
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * self.frequencies()
        return angles.cos().float(), angles.sin().float()


def genie_rope(model: Any, context: int) -> Rope | None:
    """The embedding of ``model`` for positions below ``context``, or None where Genie has none that gives its numbers.

    Then positions come in as integers and the numbers are read from a table in the graph (static_decoder.py).
    """
    modules = [module for _, _, module in rotary_modules(model)]
    if len(modules) != 1 or len(layer_kinds(modules[0])) != 1:
        return None
    cos, sin = rotary_values(modules[0], layer_kinds(modules[0])[0], context)
    half = cos.shape[1] // 2
    if not (torch.equal(cos[:, :half], cos[:, half:]) and torch.equal(sin[:, :half], sin[:, half:])):
        return None
    for rope in _candidates(_parameters(model, layer_kinds(modules[0])[0]), cos.shape[1]):
        own = rope.values(context)
        if max(float((own[0] - cos[:, :half]).abs().max()), float((own[1] - sin[:, :half]).abs().max())) <= TOLERANCE:
            return rope
    return None


def _parameters(model: Any, kind: str | None) -> dict[str, Any]:
    given = getattr(model.config, "rope_parameters", None) or {}
    return dict(given.get(kind, given) if kind is not None else given)


def _candidates(parameters: dict[str, Any], width: int) -> list[Rope]:
    theta = float(parameters.get("rope_theta") or 10000.0)
    found = [Rope(width, theta)]
    if parameters.get("rope_type") == "llama3":
        found.append(
            Rope(
                width,
                theta,
                {
                    "rope-type": "llama3",
                    "factor": float(parameters["factor"]),
                    "low-freq-factor": float(parameters["low_freq_factor"]),
                    "high-freq-factor": float(parameters["high_freq_factor"]),
                    "original-max-position-embeddings": int(parameters["original_max_position_embeddings"]),
                },
            )
        )
    return found


def _llama3(plain: Tensor, scaling: dict[str, Any]) -> Tensor:
    """Frequencies of Llama 3.1's scaling: long waves are stretched by the factor, those between blended."""
    factor, low, high = (scaling[key] for key in ("factor", "low-freq-factor", "high-freq-factor"))
    turns = scaling["original-max-position-embeddings"] * plain / (2 * torch.pi)
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (smooth + (1 - smooth) / factor)
