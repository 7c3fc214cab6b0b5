"""Step: the range of each activation from the observer that hurts the layers reading it least (ptq/ranges)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.ranges.candidates import from_observers
from hexaquant.ptq.ranges.choose import choose_ranges
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class ChooseRanges:
    """``observers``: that propose a range for each tensor; ``samples``: on which the proposals are compared."""

    observers: tuple[str, ...] = ("min_max", "mse", "percentile", "sqnr")
    samples: int = 32

    title: ClassVar[str] = "choose ranges"

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.observers:
            raise InputError("choose_ranges takes at least one observer and one sample")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Encodings of observed activations change, nothing else. Raises InputError for an unknown observer."""
        candidates = from_observers(model, batches(), self.observers, events)
        seen, changed = choose_ranges(model, batches(), candidates, samples=self.samples, events=events)
        return StepReport(self.title, seen, {"tensors": len(candidates), "layers": [asdict(r) for r in changed]})
