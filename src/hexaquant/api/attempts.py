"""What ``auto`` tries, from the cheapest on the target to the dearest, what came of each, and how that is said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hexaquant.io.dataset import Dataset
from hexaquant.ir.input_spec import sample_count
from hexaquant.ptq.recipe import find_recipe

POINTS = 100.0
"""A drop is in points: a metric of 1 is 100 points."""


@dataclass(frozen=True)
class Attempt:
    """One setting. ``reason``: why it is tried, in words."""

    scheme: str
    recipe: str
    reason: str
    overrides: dict[str, str] = field(default_factory=dict)
    correct_on_target: bool = False
    kind: str = ""

    @property
    def name(self) -> str:
        """ "w8a8 fast", "mixed 125% best"."""
        corrected = ", corrected on the target" if self.correct_on_target else ""
        return f"{self.kind or self.scheme} {self.recipe}{corrected}"

    @property
    def key(self) -> str:
        """The same for attempts that quantize alike."""
        document = [self.scheme, find_recipe(self.recipe).document(), self.overrides, self.correct_on_target]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """Scores of an attempt; ``target`` None where the simulation already missed the threshold.

    ``flips``: samples that got worse and better from FP32 to the target.
    """

    fp32: float
    sim: float
    sqnr_db: float | None
    seconds: float
    samples: int
    target: float | None = None
    flips: dict[str, int] | None = None

    @property
    def sim_drop(self) -> float:
        return POINTS * (self.fp32 - self.sim)

    @property
    def target_drop(self) -> float | None:
        return None if self.target is None else POINTS * (self.fp32 - self.target)

    @property
    def drop(self) -> float:
        """The worse of simulation and target."""
        return self.sim_drop if self.target_drop is None else max(self.sim_drop, self.target_drop)


@dataclass(frozen=True)
class Tried:
    attempt: Attempt
    outcome: Outcome

    def holds(self, max_drop: float) -> bool:
        """True when the threshold was met on the target too."""
        return self.outcome.target is not None and self.outcome.drop <= max_drop

    def rank(self) -> tuple[float, float]:
        """Smaller is better: the drop, then the error of the outputs."""
        sqnr = self.outcome.sqnr_db
        return self.outcome.drop, -(1e9 if sqnr is None else sqnr)

    def sentence(self, metric: str, max_drop: float) -> str:
        """What came of it, in words."""
        out = self.outcome
        start = f"{self.attempt.name}: {metric} {POINTS * out.sim:.2f} in simulation against {POINTS * out.fp32:.2f}"
        if out.target is None:
            return f"{start}, {out.sim_drop:.2f} points lost, more than {max_drop:g}: the target was not asked"
        end = "met" if self.holds(max_drop) else "missed on the target"
        return f"{start} and {POINTS * out.target:.2f} on the target, {out.drop:.2f} points lost: threshold {end}"

    def to_json(self, metric: str, max_drop: float) -> dict[str, Any]:
        drops = {"sim_drop": round(self.outcome.sim_drop, 4), "target_drop": _rounded(self.outcome.target_drop)}
        words = {"why": self.attempt.reason, "result": self.sentence(metric, max_drop)}
        setting = {k: v for k, v in asdict(self.attempt).items() if k not in ("reason", "kind")}
        return {"name": self.attempt.name, **words, **setting, **asdict(self.outcome), **drops}


def uniform_attempts(scheme: str, reasons: Sequence[tuple[str, str]]) -> list[Attempt]:
    """Attempts with one ``scheme`` and the recipes and reasons given."""
    return [Attempt(scheme, recipe, reason) for recipe, reason in reasons]


FIRST = uniform_attempts(
    "w8a8",
    [
        ("plain", "8 bits with plain min-max ranges cost least, in making and on the target"),
        ("fast", "the same cost on the target: ranges by mean squared error, equalization, bias correction"),
        ("best", "still the same cost on the target: every technique that lowers the held-out error"),
    ],
)
BUDGETS = ("125%", "150%", "175%")
"""Bit operations of the mixed attempts, of uniform w8a8; w8a16 costs 200 %."""
MIXED_CHOICES = ("w8a8", "w8a16", "fp16")


def last_attempts(recipe: str) -> list[Attempt]:
    """What is left when mixed precision did not do; ``recipe``: the technique that served best so far."""
    return [
        Attempt("w8a16", recipe, "16-bit activations everywhere, twice the bit operations of w8a8"),
        Attempt("fp16", "plain", "float16 throughout, the dearest: nothing is quantized to integers"),
    ]


def mixed_reason(budget: str, sensitive: Sequence[str]) -> str:
    """Why mixed precision is tried, naming the layers that get more than 8 bits."""
    named = ", ".join(sensitive[:4]) + (f" and {len(sensitive) - 4} more" if len(sensitive) > 4 else "")
    return f"no technique suffices in 8 bits; at most {budget} of the bit operations of w8a8, spent on {named}"


def advice(tried: Sequence[Tried], max_drop: float, out: str) -> str:
    """What to do when nothing held, with numbers."""
    best = min(tried, key=Tried.rank)
    floating = next((t for t in tried if t.attempt.scheme == "fp16"), None)
    text = f"no post-training setting stays within {max_drop:g} points: {best.attempt.name} comes nearest with "
    text += f"{best.outcome.drop:.2f} points lost and is in {out}"
    if floating is not None and floating.outcome.drop > max_drop:
        return (
            f"{text}; even float16 loses {floating.outcome.drop:.2f}, so that integers are not the cause: allow more, "
            "or train with lower precision in mind (hexaquant qat)"
        )
    eight = min((t for t in tried if t.attempt.scheme == "w8a8" and not t.attempt.overrides), key=Tried.rank)
    return (
        f"{text}. Train it: hexaquant qat {out} --data TRAINING_DATA has {best.outcome.drop:.2f} points to recover "
        f"from there, or {eight.outcome.drop:.2f} from uniform w8a8"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# Evaluation data in two: what chooses between attempts, and what gives the figure of the one chosen.
#
# The best of many attempts looks better on the data that chose it than it is. So a fifth of the evaluation data chooses
# nothing: it measures the winner once, at the end.

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
