"""Evaluation data in two: what chooses between attempts, and what gives the figure of the one chosen.

The best of many attempts looks better on the data that chose it than it is. So a fifth of the evaluation data chooses
nothing: it measures the winner once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from hexaquant.api.attempts import POINTS
from hexaquant.io.dataset import Dataset
from hexaquant.ir.input_spec import sample_count

LEAST = 10
"""A figure on fewer samples says nothing: one of ten is 10 points."""


@dataclass(frozen=True)
class Final:
    """The winner on samples that chose nothing; ``drop``: points that the target loses against FP32 there."""

    samples: int
    fp32: float
    target: float
    drop: float
    holds: bool

    @classmethod
    def of(cls, report: dict[str, Any], max_drop: float) -> Final:
        """From the report of a verification on those samples."""
        fp32, target = (float(report["metrics"][backend]) for backend in ("fp32", "target"))
        drop = POINTS * (fp32 - target)
        return cls(int(report["samples"]), fp32, target, round(drop, 4), drop <= max_drop)

    def sentence(self, max_drop: float) -> str:
        """What was found, in words."""
        found = f"on the {self.samples} samples that chose nothing the target loses {self.drop:.2f} points"
        if self.holds:
            return found
        return f"{found}, more than {max_drop:g}: give more evaluation data, or a smaller --max-drop as a reserve"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parted(evaluation: Dataset) -> tuple[Dataset, Dataset | None]:
    """(what chooses, what gives the final figure); the second None where ``evaluation`` is too small for both."""
    count = sum(sample_count(batch, evaluation.specs) for batch in evaluation)
    choosing, final = replace(evaluation, items=lambda: _again(evaluation), count=count, part=None).split()
    sizes = (choosing.samples or 0, final.samples or 0)
    fixed = evaluation.fixed_batch or 1
    if sizes[1] < LEAST or any(size % fixed for size in sizes):
        return evaluation, None
    return choosing, final


def _again(data: Dataset) -> Iterator[Any]:
    """The samples of ``data`` as items of another Dataset."""
    for batch, labels in data.labelled():
        yield batch if labels is None else (batch, labels)
