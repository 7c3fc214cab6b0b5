"""Step: bias correction, empirical (ptq/bias_correction.py) or analytic (ptq/analytic_bias_correction.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.analytic_bias_correction import correct_biases_analytically
from hexaquant.ptq.bias_correction import correct_biases
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class CorrectBiases:
    """``method``: measured on data, or computed from the BatchNormalizations that were folded into the layers.

    ``samples``: how many are held at once by the empirical method.
    """

    samples: int = 32
    method: Literal["empirical", "analytic"] = "empirical"

    title: ClassVar[str] = "correct biases"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"bias correction takes at least one sample, not {self.samples}")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Nothing happens to a network without int32 biases (float16 schemes)."""
        if not any(plan.how == "derived" for plan in model.plan):
            return StepReport(self.title, 0)
        if self.method == "analytic":
            return StepReport(self.title, 0, {"method": self.method, "layers": correct_biases_analytically(model)})
        layers = correct_biases(model, batches(), samples=self.samples, events=events)
        return StepReport(self.title, self.samples, {"layers": [asdict(layer) for layer in layers]})
