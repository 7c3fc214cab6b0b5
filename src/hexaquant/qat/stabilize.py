"""Oscillation dampening and freezing (qat/oscillation.py) for the weights of a model in training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hexaquant.qat.oscillation import Tracker, dampening, rising, threshold
from hexaquant.qat.settings import Settings
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ConstantQuantizer


class Stabilizer:
    """Does nothing unless ``settings`` ask for dampening or freezing."""

    def __init__(self, model: QuantizedModel, settings: Settings) -> None:
        self._settings, self._weights = settings, _weights(model)
        self._trackers: dict[str, Tracker] = {}
        if settings.freeze_oscillations is not None:
            self._trackers = {n: Tracker(w, q.encoding) for n, (w, q) in self._weights.items()}

    def penalty(self, step: int) -> Tensor | float:
        """The dampening term of the loss at ``step``, the mean over the weights."""
        if not self._settings.dampening:
            return 0.0
        terms = [dampening(w, quantizer.encoding) for w, quantizer in self._weights.values()]
        factor = self._settings.dampening * rising(step, self._settings.steps)
        return factor * torch.stack(terms).mean() if terms else 0.0

    def follow(self, step: int) -> None:
        """Take note of the weights after the optimizer's ``step``; freeze what oscillates too often."""
        last = self._settings.freeze_oscillations
        if last is None:
            return
        limit = threshold(step, self._settings.steps, last)
        for name, tracker in self._trackers.items():
            weight, quantizer = self._weights[name]
            tracker.follow(weight, quantizer.encoding, limit)

    def hold(self) -> None:
        """Put frozen weights back on their integers, after an average or another state took their place."""
        for name, tracker in self._trackers.items():
            weight, quantizer = self._weights[name]
            tracker.hold(weight, quantizer.encoding)

    def frozen_share(self) -> float:
        """Share of the followed weights that are frozen."""
        count = sum(tracker.held.numel() for tracker in self._trackers.values())
        frozen = sum(int(tracker.frozen.sum()) for tracker in self._trackers.values())
        return frozen / count if count else 0.0

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later."""
        return {f"{name}/{key}": t for name, tracker in self._trackers.items() for key, t in tracker.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state` returned."""
        for name, tracker in self._trackers.items():
            tracker.load_state({key: state[f"{name}/{key}"] for key in tracker.FIELDS})


def _weights(model: QuantizedModel) -> dict[str, tuple[torch.nn.Parameter, ConstantQuantizer]]:
    found: dict[str, tuple[torch.nn.Parameter, ConstantQuantizer]] = {}
    for name, parameter in model.parameters_by_name().items():
        quantizer = model.quantizers.get(name)
        if isinstance(quantizer, ConstantQuantizer) and quantizer.plan.role == "weight" and not quantizer.grid.is_float:
            found[name] = (parameter, quantizer)
    return found
