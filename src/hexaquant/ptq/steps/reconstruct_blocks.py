"""Step: rounding and biases of whole blocks learned on their output (ptq/rounding/reconstruct.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.rounding.reconstruct import Training, reconstruct_blocks
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class ReconstructBlocks:
    """``iterations`` a block on ``batch`` samples each; ``rate``: of learning; ``drop``: QDrop's probability, 0 is
    BRECQ; ``samples``: how many are used; ``seed``: of their order. Put it after round_weights."""

    iterations: int = 100
    batch: int = 8
    rate: float = 0.1
    drop: float = 0.5
    samples: int = 64
    seed: int = 0

    title: ClassVar[str] = "reconstruct blocks"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"reconstruct_blocks: '{name}' is at least 1, not {getattr(self, name)}")
        if not 0 <= self.drop < 1 or self.rate <= 0:
            raise InputError("reconstruct_blocks: 'drop' is at least 0 and below 1, 'rate' above 0")

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Weights and biases of blocks whose held-out error drops; the others stay as they were."""
        training = Training(self.iterations, self.batch, self.rate, self.drop, self.seed)
        seen, blocks = reconstruct_blocks(model, batches(), training, samples=self.samples, events=events)
        return StepReport(self.title, seen, {"layers": [asdict(block) for block in blocks]})
