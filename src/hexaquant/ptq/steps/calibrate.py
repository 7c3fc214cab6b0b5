"""Step: ranges of activations from data, ranges of weights from their values (sim/calibrate.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from hexaquant.core.events import Events
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class Calibrate:
    """``observer``: of activations ("percentile:99.9" with its value); ``weight_observer``: min_max, mse, or auto (mse
    below 8 bits)."""

    observer: str = "mse"
    weight_observer: str = "auto"

    title: ClassVar[str] = "calibrate"

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Set every encoding. Raises InputError for empty data and for NaN or infinite values, naming the tensor."""
        seen = calibrate(model, batches(), observer=self.observer, weight_observer=self.weight_observer, events=events)
        return StepReport(self.title, seen, asdict(self))
