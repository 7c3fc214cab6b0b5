"""The pipeline's steps, each with what it gained, from what the steps recorded about themselves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hexaquant.report.sources import Sources


@dataclass(frozen=True)
class Step:
    """``gain``: change of the held-out SQNR in dB, where it was measured; ``seconds``: None where not recorded."""

    name: str
    verdict: str
    text: str
    gain: float | None = None
    seconds: float | None = None


def pipeline(sources: Sources) -> list[Step]:
    """Quantization's steps, then training, lowering and compiling."""
    sections = sources.sections
    recorded = sections.get("quantization", {}).get("steps", [])
    steps = [_quantization(step) for step in recorded if isinstance(step, Mapping)]
    for name, section in sections.items():
        if isinstance(section, Mapping) and (name == "lower" or name.startswith("compile ")):
            steps.append(_conversion(name, section))
    return steps


def _quantization(step: Mapping[str, Any]) -> Step:
    details = step.get("details") or {}
    found, layers = details.get("held_out"), details.get("layers") or []
    held = found if isinstance(found, Mapping) else {}  # correct on target counts its held-out samples there
    before, after = held.get("sqnr_before"), held.get("sqnr_after")
    if isinstance(details.get("sqnr"), list) and isinstance(details.get("kept"), int):  # correct on target
        before, after = details["sqnr"][0], details["sqnr"][details["kept"]]
    gain = None if before is None or after is None else round(after - before, 3)
    told = [f"held-out SQNR {before:.2f} to {after:.2f} dB"] if gain is not None else []
    told += [f"{details['steps']} training steps"] if isinstance(details.get("steps"), int) else []
    told += [str(held["reason"])] if held.get("reason") else []
    told += _layer_words(layers) + _observer_words(details)
    if step.get("samples"):
        told.append(f"{step['samples']} samples")
    return Step(str(step.get("step", "")), held.get("verdict", "done"), "; ".join(told), gain, step.get("seconds"))


def _layer_words(layers: list[Mapping[str, Any]]) -> list[str]:
    """ "34 layers, error down 12 % (median)"."""
    if not layers:
        return []
    shares = [
        1 - layer["mse_after"] / layer["mse_before"]
        for layer in layers
        if isinstance(layer, Mapping) and layer.get("mse_before") and layer.get("mse_after") is not None
    ]
    count = f"{len(layers)} layer" + ("s" if len(layers) != 1 else "")
    if not shares:
        return [count]
    share = 100 * statistics.median(shares)
    return [f"{count}, squared error {'down' if share >= 0 else 'up'} {abs(share):.1f} % (median)"]


def _observer_words(details: Mapping[str, Any]) -> list[str]:
    observer = details.get("observer") or details.get("name")
    weights = details.get("weight_observer")
    if not observer:
        return []
    return [f"activations by {observer}" + (f", weights by {weights}" if weights else "")]


def _conversion(name: str, section: Mapping[str, Any]) -> Step:
    if name == "lower":
        counts = section.get("coverage") or {}
        return Step("lower to DLC", "done", ", ".join(f"{n} {verdict}" for verdict, n in counts.items()),
                    seconds=section.get("seconds"))  # fmt: skip
    level = section.get("o_level")
    text = f"O{level}" if level else ""
    return Step(f"compile for {name.removeprefix('compile ')}", "done", text, seconds=section.get("seconds"))
