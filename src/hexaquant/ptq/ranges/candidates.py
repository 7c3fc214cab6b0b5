"""Candidate encodings of an activation: what several observers propose, and the present range wider or narrower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.events import Events
from hexaquant.core.observers import make_observer
from hexaquant.core.observers.observer import Observer
from hexaquant.sim.calibrate import within_clamp
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer


def observed(model: QuantizedModel) -> dict[str, ActivationQuantizer]:
    """The quantizers whose range is a choice: those of observed activations on integer grids below 16 bits.

    At 16 bits the step is no concern, but a value beyond the range is: calibration's headroom stays.
    """
    return {
        name: quantizer
        for name, quantizer in model.quantizers.items()
        if isinstance(quantizer, ActivationQuantizer) and quantizer.plan.how == "observed" and quantizer.grid.bits < 16
    }


class _Several:
    """Shows a tensor to several observers."""

    def __init__(self, observers: Mapping[str, Observer]) -> None:
        self.observers = observers

    def update(self, x: Tensor) -> None:
        for observer in self.observers.values():
            observer.update(x)


@torch.no_grad()
def from_observers(
    model: QuantizedModel, batches: Iterable[Mapping[str, Any]], names: Sequence[str], events: Events
) -> dict[str, dict[str, Encoding]]:
    """Tensor name -> observer name -> the encoding it proposes after one pass of the float network over ``batches``.

    Raises InputError for an unknown observer. Quantizers are on afterwards.
    """
    watched = observed(model)
    several = {name: _Several({o: make_observer(o, q.grid) for o in names}) for name, q in watched.items()}
    model.set_state("off")
    try:
        for name, quantizer in watched.items():
            quantizer.observer, quantizer.state = several[name], "observe"  # type: ignore[assignment]
        for batch in events.track(batches, "observe ranges"):
            model(**{name: torch.as_tensor(value) for name, value in batch.items()})
    finally:
        for quantizer in watched.values():
            quantizer.observer = None
        model.set_state("on")
    return {
        name: {o: within_clamp(model.plan[name], found.encoding()) for o, found in several[name].observers.items()}
        for name in watched
    }


def scaled(model: QuantizedModel, factors: Sequence[float]) -> dict[str, dict[str, Encoding]]:
    """Tensor name -> factor as text -> the present encoding with both ends of its range times the factor."""
    result = {}
    for name, quantizer in observed(model).items():
        now, plan = quantizer.encoding, quantizer.plan
        result[name] = {
            f"{factor:g}": within_clamp(plan, encoding_from_range(now.min * factor, now.max * factor, now.grid))
            for factor in factors
        }
    return result
