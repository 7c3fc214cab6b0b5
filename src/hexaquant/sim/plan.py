"""QuantPlan: for each tensor of the graph its grid and how its encoding arises. Data: printable, editable.

The plan covers every float tensor that the compiled graph will have; one without an entry is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hexaquant.core import html
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target

Role = Literal["input", "activation", "weight", "bias", "constant"]
How = Literal["observed", "fixed", "own", "shared", "derived", "fused", "float"]


@dataclass(frozen=True)
class TensorPlan:
    """How one tensor is quantized.

    ``how``: *observed* (range seen in calibration), *fixed* (``low``..``high`` known), *own* (range of the
    constant itself), *shared* (the encoding of ``source``), *derived* (int32 bias: scale of ``source`` times
    scale of ``weight``), *fused* (never materialized: its operator and ``source``'s are one on the target),
    *float* (not quantized, because ``reason``).
    ``clamp``: (low, high) of an activation function that this tensor's own clipping replaces.
    ``observer``: the observer that the user or the operator chose for this tensor, None for the recipe's; "file": the
    encoding that came with it (sim/from_file.py).
    ``holds``: (low, high) that the range of this *observed* tensor spans whatever was seen: an attention mask.
    ``margin``: how far below the largest value of the lowest row the range of masked scores ends; ``along``: the axis
    of a row, from the end, None where it is unknown.
    ``tie``: the first of the tensors that share one encoding with this *observed* one, itself included; the range of
    all of them counts.
    """

    name: str
    role: Role
    how: How
    grid: Grid | None = None
    source: str | None = None
    weight: str | None = None
    low: float | None = None
    high: float | None = None
    clamp: tuple[float | None, float | None] | None = None
    layer: str = ""
    reason: str = ""
    observer: str | None = None
    tie: str | None = None
    holds: tuple[float, float] | None = None
    margin: float | None = None
    along: int | None = None

    @property
    def is_quantized(self) -> bool:
        """True when the tensor has integers on the target."""
        return self.how not in ("float", "fused")


@dataclass(frozen=True)
class QuantPlan:
    """The plan of a whole graph. ``bypass``: names of the nodes that the target merges into their producer."""

    target: Target
    scheme: Scheme
    tensors: Mapping[str, TensorPlan]
    bypass: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> TensorPlan:
        plan = self.tensors.get(name)
        if plan is None:
            close = difflib.get_close_matches(name, self.tensors, 3)
            raise InputError(f"the plan has no tensor '{name}'" + (f"; close: {', '.join(close)}" if close else ""))
        return plan

    def __iter__(self) -> Iterator[TensorPlan]:
        return iter(self.tensors.values())

    def root(self, name: str) -> TensorPlan:
        """The tensor whose encoding ``name`` has: itself, or the end of its chain of *shared* tensors."""
        plan = self[name]
        while plan.how == "shared" and plan.source is not None:
            plan = self[plan.source]
        return plan

    def counts(self) -> dict[str, int]:
        """Number of tensors by how their encoding arises."""
        result: dict[str, int] = {}
        for plan in self:
            result[plan.how] = result.get(plan.how, 0) + 1
        return result

    def rows(self) -> Iterable[tuple[str, str, str, str]]:
        """(tensor, grid, how, layer) of each tensor, for tables."""
        for plan in self:
            how = plan.how + (f" <- {plan.source}" if plan.source else "") + (f": {plan.reason}" if plan.reason else "")
            how += f" with {plan.tie}" if plan.tie not in (None, plan.name) else ""
            yield plan.name, "-" if plan.grid is None else str(plan.grid), how, plan.layer

    def summary(self) -> str:
        """ "w8a8 for sm8650 (...): 34 observed, 51 own"."""
        return f"{self.scheme.name} for {self.target}: " + ", ".join(f"{n} {how}" for how, n in self.counts().items())

    def _repr_html_(self) -> str:
        return html.heading(self.summary()) + html.table(["tensor", "grid", "how", "layer"], self.rows())

    def __str__(self) -> str:
        head = self.summary()
        return "\n".join([head, *("  " + "  ".join(row) for row in self.rows())])
