"""Step: gain and shift of each channel in closed form (ptq/bias_correction.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.bias_correction import correct_biases
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.calibrate import protect_from_overflow
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class RefitOutputs:
    """``samples``: how many are held at once. Put it after steps that round weights: the integers stay."""

    samples: int = 32

    title: ClassVar[str] = "refit outputs"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"refit_outputs takes at least one sample, not {self.samples}")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Scales of weights and biases change. Nothing happens to a network without int32 biases (float16)."""
        if not any(plan.how == "derived" for plan in model.plan):
            return StepReport(self.title, 0)
        layers = correct_biases(model, batches(), samples=self.samples, refit_gain=True, events=events)
        protected = protect_from_overflow(model)
        details = {"layers": [asdict(layer) for layer in layers], "protected_from_overflow": protected}
        return StepReport(self.title, self.samples, details)
