"""Runs the rules and measures what their findings cost."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hexaquant.analysis.lint.finding import SEVERITIES, Finding
from hexaquant.analysis.lint.rules.activations import (
    long_tail,
    softmax_input,
    unlike_operands,
    wide_residual,
    wrong_encoding,
)
from hexaquant.analysis.lint.rules.precision import coarse_16bit, overflowing_constant, refused, weak_16bit, wide_type
from hexaquant.analysis.lint.rules.shapes import dynamic_reshape, dynamic_shape
from hexaquant.analysis.lint.rules.structure import (
    attention_scale,
    batchnorm,
    dead_branch,
    decomposed_gelu,
    decomposed_hardswish,
    decomposed_layernorm,
    decomposed_rmsnorm,
    linear_as_convolution,
    reshape_chain,
    rewritten,
    transpose_chain,
)
from hexaquant.analysis.lint.rules.weights import coarse_weight, dead_channel, outlier_channel
from hexaquant.analysis.lint.statistics import collect_statistics
from hexaquant.analysis.lint.subject import Subject
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import HexaquantError
from hexaquant.core.metrics import Sqnr
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph, Origin
from hexaquant.ir.passes.fuse_gelu import fuse_gelu
from hexaquant.ir.passes.fuse_hardswish import fuse_hardswish
from hexaquant.ir.passes.fuse_layernorm import fuse_layernorm
from hexaquant.ir.passes.fuse_rmsnorm import fuse_rmsnorm
from hexaquant.ir.rule import Rule as Rewriting
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.overrides import Overrides
from hexaquant.sim.planner import plan_unchecked

# What one quantizer alone costs: SQNR of the network's outputs on a few samples with everything else in float.


class QuantizerCost:
    """The network ``graph`` (prepared for the target), calibrated on ``batches``, and its float outputs on them.

    ``given``: encodings that take the place of the calibrated ones, where the plan has the same grid.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        scheme: Scheme,
        overrides: Overrides,
        batches: Sequence[Mapping[str, Any]],
        given: Mapping[str, Encoding] | None = None,
    ) -> None:
        planned = graph.clone()
        self.model = QuantizedModel(planned, plan_unchecked(planned, target, scheme, overrides))
        self._batches = [{name: torch.as_tensor(value) for name, value in batch.items()} for batch in batches]
        calibrate(self.model, self._batches)
        self.model.set_encodings(dict(given or {}), strict=False)
        with torch.no_grad(), self.model.float_mode():
            self._reference = [self._run(batch) for batch in self._batches]

    def quantizer_of(self, tensor: str) -> str | None:
        """The name of the quantizer that is in force on ``tensor``; None where it stays float."""
        plan = self.model.plan.tensors.get(tensor)
        if plan is None:
            return None
        name = plan.source if plan.how == "fused" else self.model.plan.root(tensor).name
        return name if name in self.model.quantizers else None

    def db(self, tensor: str) -> float | None:
        """SQNR of all outputs with the quantizer of ``tensor`` alone; None where it has none or changes nothing."""
        name = self.quantizer_of(tensor)
        meter = Sqnr()
        if name is None:
            return None
        with torch.no_grad(), self.model.only(glob.escape(name)):
            for batch, reference in zip(self._batches, self._reference):
                for got, wanted in zip(self._run(batch), reference):
                    meter.add(wanted.numpy(), got.numpy())
        return None if meter.noise == 0 or meter.signal == 0 else round(meter.db, 1)

    def _run(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        made = self.model(**batch)
        outputs = [made] if isinstance(made, Tensor) else list(made)
        return [output.detach().double() for output in outputs]


# Rule: a name, what it finds, and the function that looks for it.
Needs = Literal["graph", "data", "encodings"]


@dataclass(frozen=True)
class Rule:
    """``title``: what it finds, for lists of rules. ``needs``: what must be given for it to look at all.

    ``measured``: the cost of its findings is the quantizer's alone, and a small one makes them an info.
    """

    name: str
    title: str
    check: Callable[[Subject], Iterator[Finding]]
    needs: Needs = "graph"
    measured: bool = False


# Every rule, in the order in which findings of one layer are shown.
RULES: tuple[Rule, ...] = (
    Rule("refused", "layers that the target refuses or computes wrongly", refused),
    Rule("dynamic-shape", "inputs with free dimensions beside the batch", dynamic_shape),
    Rule("dynamic-reshape", "shapes that are computed while the network runs", dynamic_reshape),
    Rule("wide-type", "tensors in float64", wide_type),
    Rule("weak-16-bit", "products with 16-bit activations before Hexagon v73", weak_16bit),
    Rule("coarse-16-bit", "operators whose 16-bit kernels are far from 16 bits", coarse_16bit),
    Rule("overflowing-constant", "constants beyond float16 or that spoil a grid", overflowing_constant),
    Rule("batchnorm", "BatchNormalization that is not folded", batchnorm, measured=True),
    Rule("decomposed-gelu", "GELU written out in many operators", decomposed_gelu),
    Rule("decomposed-layernorm", "LayerNorm written out in many operators", decomposed_layernorm),
    Rule("decomposed-rmsnorm", "RMSNorm written out in many operators", decomposed_rmsnorm),
    Rule("decomposed-hardswish", "HardSwish written out in many operators", decomposed_hardswish),
    Rule("attention-scale", "factors that a linear layer could take", attention_scale),
    Rule("linear-as-convolution", "constant matrices from the left: 1x1 convolutions", linear_as_convolution),
    Rule("transpose-chain", "Transposes that cancel", transpose_chain),
    Rule("reshape-chain", "Reshapes of Reshapes", reshape_chain),
    Rule("dead-branch", "operators, inputs and outputs without effect", dead_branch),
    Rule("rewritten", "operators that hexaquant writes in another form", rewritten),
    Rule("coarse-weight", "weights that their grid holds badly", coarse_weight, measured=True),
    Rule("dead-channel", "output channels without weights", dead_channel),
    Rule("outlier-channel", "one channel far larger than the others", outlier_channel, measured=True),
    Rule("long-tail", "ranges set by a few values", long_tail, "data", measured=True),
    Rule("wide-residual", "sums too coarse for what is added", wide_residual, "data", measured=True),
    Rule("unlike-operands", "Concats whose operands need different grids", unlike_operands, "data"),
    Rule("softmax-input", "scores on a coarse grid", softmax_input, "data", measured=True),
    Rule("wrong-encoding", "encodings that disagree with data or weights", wrong_encoding, "encodings"),
)
NAMES = tuple(rule.name for rule in RULES)
HARMLESS_DB = 45.0
"""SQNR of the outputs with one quantizer alone above which a measured finding is an info."""
Samples = Sequence[Mapping[str, Any]]


def with_data(subject: Subject, samples: Samples) -> Subject:
    """``subject`` with what ``samples`` (batches: input name -> array) show. Errors as of the executor."""
    return replace(subject, statistics=collect_statistics(subject.prepared, samples))


def run_rules(subject: Subject, samples: Samples = ()) -> list[Finding]:
    """The findings of every rule, the gravest first and in the order of the network; costs measured on ``samples``."""
    measured = {rule.name for rule in RULES if rule.measured}
    found = [finding for rule in RULES for finding in rule.check(subject)]
    cost = _cost_meter(subject, samples) if samples and any(_is_measured(f, measured) for f in found) else None
    if cost is not None:
        found = [_judged(f, cost(f)) if _is_measured(f, measured) else f for f in found]
    order = {node.name: index for index, node in enumerate(subject.written.nodes)}
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), order.get(f.layer.node, len(order))))


def _is_measured(finding: Finding, rules: set[str]) -> bool:
    return finding.rule in rules and finding.severity != "info" and bool(finding.tensor)


def _cost_meter(subject: Subject, samples: Samples) -> Callable[[Finding], float | None] | None:
    """A function from a finding to what its quantizer alone costs; None where the network cannot be simulated."""
    given: dict[str, Encoding] = dict(subject.given)
    try:
        meter = QuantizerCost(subject.prepared, subject.target, subject.scheme, subject.overrides, samples, given)
    except HexaquantError:
        return None
    known: dict[str, float | None] = {}

    def cost(finding: Finding) -> float | None:
        if finding.tensor not in known:
            known[finding.tensor] = meter.db(finding.tensor)
        return known[finding.tensor]

    return cost


def _judged(finding: Finding, db: float | None) -> Finding:
    if db is not None and db >= HARMLESS_DB and finding.severity == "warning":
        return replace(finding, cost_db=db, severity="info")
    return replace(finding, cost_db=db)


FUSIONS: dict[str, Rewriting[Any]] = {
    "GELU": fuse_gelu,
    "LayerNorm": fuse_layernorm,
    "RMSNorm": fuse_rmsnorm,
    "HardSwish": fuse_hardswish,
}


@dataclass(frozen=True)
class NotFused:
    """What looks like ``function`` written out, at ``layer``, and why it stays in many operators."""

    function: str
    layer: Origin
    reason: str


def not_fused(subject: Subject) -> tuple[NotFused, ...]:
    """What the import left of GELU, LayerNorm, RMSNorm and HardSwish written out."""
    graph = subject.imported
    found = ((name, node, reason) for name, rule in FUSIONS.items() for node, reason in rule.declined(graph))
    return tuple(NotFused(name, graph.origin(node), reason) for name, node, reason in found)
