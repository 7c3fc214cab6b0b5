"""Activations whose range is set by a few values far beyond all others.

Swish and GELU have no upper bound, normalized transformers have massive activations: with one scale a tensor, either
the few are clipped or the many lose their bits. Judged on data: the peak against the size that all but 1 in 10,000
values stay below, and what 8 bits over the whole range would leave to the others. Of all tensors of EfficientNet-Lite0
the worst has a ratio of 3.2 and 27 dB.
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.graph import Graph

RULE = "long-tail"
RATIO, LEAST_DB = 4.0, 25.0
"""Peak over bulk, and SQNR of the tensor in 8 bits over its whole range."""


def long_tail(subject: Subject) -> Iterator[Finding]:
    """One warning a tensor of 8 bits."""
    for node in subject.prepared.nodes:
        tensor = node.outputs[0].name or ""
        seen, plan = subject.statistics.get(tensor), subject.plan.tensors.get(tensor)
        if seen is None or plan is None or plan.how != "observed" or plan.grid is None or plan.grid.bits != 8:
            continue
        ratio = seen.peak / seen.bulk if seen.bulk > 0 else 1.0
        db = seen.sqnr_db(seen.encoding(8)) if ratio >= RATIO else LEAST_DB
        if ratio < RATIO or db >= LEAST_DB:
            continue
        text = f"'{tensor}' reaches {seen.peak:.3g}, all but 1 in 10,000 values stay below {seen.bulk:.3g}"
        kurtosis = f"kurtosis {seen.kurtosis:.0f}"
        why = f"the whole range in 8 bits leaves {db:.0f} dB ({kurtosis}); a shorter one clips the peaks"
        yield about(subject.prepared, node, RULE, "warning", text, why, _fix(subject.prepared, tensor))


def _fix(graph: Graph, tensor: str) -> str:
    node = graph.value(tensor).producer()
    bounded = " train with a bounded activation (ReLU6, HardSwish of a Clip), or" if is_activation(node) else ""
    return f"16 bits for this tensor (--overrides);{bounded} observer 'mse' or 'percentile'"


def is_activation(node: object) -> bool:
    """Whether the tensor comes out of an unbounded activation function: Gelu, HardSwish, x * Sigmoid(x)."""
    op_type = getattr(node, "op_type", "")
    if op_type != "Mul":
        return op_type in ("Gelu", "HardSwish", "Softplus", "Elu", "LeakyRelu", "PRelu")
    producers = [v.producer() for v in getattr(node, "inputs", ()) if v is not None]
    return any(p is not None and p.op_type == "Sigmoid" for p in producers)
