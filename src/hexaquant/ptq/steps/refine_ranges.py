"""Step: activation ranges made a little wider or narrower where the rounded layers reading them gain (ptq/ranges)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.ranges.candidates import scaled
from hexaquant.ptq.ranges.choose import choose_ranges
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class RefineRanges:
    """``factors``: on the present range, which is kept in a draw; ``samples``: on which they are compared."""

    factors: tuple[float, ...] = (0.7, 0.8, 0.88, 0.94, 1.06)
    samples: int = 32

    title: ClassVar[str] = "refine ranges"

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.factors or min(self.factors) <= 0:
            raise InputError("refine_ranges takes at least one sample and one factor, all of them above 0")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Encodings of observed activations change, nothing else; biases are best corrected afterwards."""
        candidates = scaled(model, self.factors)
        seen, changed = choose_ranges(model, batches(), candidates, samples=self.samples, events=events)
        return StepReport(self.title, seen, {"tensors": len(candidates), "layers": [asdict(r) for r in changed]})
