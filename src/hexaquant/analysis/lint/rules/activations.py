"""Rules about ranges of activations, from data or from given encodings."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.rules.weights import weights_of
from hexaquant.analysis.lint.statistics import TensorStatistics
from hexaquant.analysis.lint.subject import Subject
from hexaquant.analysis.unlike_operands import Seen
from hexaquant.analysis.unlike_operands import unlike_operands as find_unlike
from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.edit import sole_consumer
from hexaquant.ir.graph import Graph, constant

# Activations whose range is set by a few values far beyond all others.
#
# Swish and GELU have no upper bound, normalized transformers have massive activations: with one scale per tensor,
# either the few are clipped or the many lose their bits. Judged on data: the peak against the size that all but 1 in
# 10,000 values stay below, and what 8 bits over the whole range would leave to the others. Of all tensors of
# EfficientNet-Lite0 the worst has a ratio of 3.2 and 27 dB.

LONG_TAIL = "long-tail"
RATIO = 4.0
LEAST_DB_LONG_TAIL = 25.0
"""Peak over bulk, and SQNR of the tensor in 8 bits over its whole range."""


def long_tail(subject: Subject) -> Iterator[Finding]:
    """One warning per tensor of 8 bits."""
    for node in subject.prepared.nodes:
        tensor = node.outputs[0].name or ""
        seen = subject.statistics.get(tensor)
        plan = subject.plan.tensors.get(tensor)
        if seen is None or plan is None or plan.how != "observed" or plan.grid is None or plan.grid.bits != 8:
            continue
        ratio = seen.peak / seen.bulk if seen.bulk > 0 else 1.0
        db = seen.sqnr_db(seen.encoding(8)) if ratio >= RATIO else LEAST_DB_LONG_TAIL
        if ratio < RATIO or db >= LEAST_DB_LONG_TAIL:
            continue
        text = f"'{tensor}' reaches {seen.peak:.3g}, all but 1 in 10,000 values stay below {seen.bulk:.3g}"
        kurtosis = f"kurtosis {seen.kurtosis:.0f}"
        why = f"the whole range in 8 bits leaves {db:.0f} dB ({kurtosis}); a shorter one clips the peaks"
        yield about(subject.prepared, node, LONG_TAIL, "warning", text, why, _fix(subject.prepared, tensor))


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


# Sums whose grid is too coarse for one of the two that are added.
#
# A residual stream grows from block to block; what a late block adds to it may be smaller than a step of the stream.
# The noise of the sum's grid, step^2 / 12, is compared with the variance of what is added.

WIDE_RESIDUAL = "wide-residual"
LEAST_DB_WIDE_RESIDUAL = 12.0


def wide_residual(subject: Subject) -> Iterator[Finding]:
    """One warning a sum of two computed tensors in 8 bits."""
    for node in subject.prepared.nodes:
        if node.op_type != "Add" or any(v is None or constant(v) is not None for v in node.inputs):
            continue
        db, branch = _left_of(subject, node)
        if db >= LEAST_DB_WIDE_RESIDUAL:
            continue
        text = f"the grid of the sum leaves {db:.0f} dB to '{branch}'"
        why = "the stream's range is so wide that what the block adds drowns in its rounding"
        fix = "16 bits for the residual stream (--overrides); in transformers the step rotate_transformer"
        yield about(subject.prepared, node, WIDE_RESIDUAL, "warning", text, why, fix)


def _left_of(subject: Subject, node: oir.Node) -> tuple[float, str]:
    """(SQNR of the operand that suffers more, its name); infinite where nothing is known."""
    seen = subject.statistics.get(node.outputs[0].name or "")
    plan = subject.plan.tensors.get(node.outputs[0].name or "")
    found = (math.inf, "")
    if seen is None or plan is None or plan.grid is None or plan.grid.bits != 8 or seen.high == seen.low:
        return found
    noise = ((seen.high - seen.low) / 255) ** 2 / 12
    for value in node.inputs:
        part = subject.statistics.get((value.name if value is not None else "") or "")
        if part is not None and part.values.size > 1:
            db = 10 * math.log10(max(float(part.values.var()), 1e-30) / noise)
            found = min(found, (db, part.name))
    return found


# Concats whose operands have so unlike ranges that one grid does not hold them all (analysis/unlike_operands.py).

UNLIKE_OPERANDS = "unlike-operands"


def unlike_operands(subject: Subject) -> Iterator[Finding]:
    """One warning a Concat of computed tensors; it names the operand that suffers most."""
    looked_at = {name: s for name, s in subject.statistics.items() if s.values.size > 1}
    seen = {name: Seen(s.low, s.high, float(s.values.var())) for name, s in looked_at.items()}
    for found in find_unlike(subject.prepared, subject.plan, seen):
        yield about(subject.prepared, found.node, UNLIKE_OPERANDS, "warning", found.text, found.why, found.fix)


# Scores of a Softmax on a grid so coarse that the probabilities are wrong.
#
# A rounding error of d in a score multiplies its probability by exp(d). With a step of 0.5 probabilities are off by up
# to
# 28 %. 8 bits over a range of 64 have a step of 0.25.

SOFTMAX_INPUT = "softmax-input"
WIDEST_STEP = 0.5


def softmax_input(subject: Subject) -> Iterator[Finding]:
    """One warning a Softmax; its tensor is the scores."""
    for node in subject.prepared.nodes:
        if node.op_type not in ("Softmax", "LogSoftmax") or node.inputs[0] is None:
            continue
        name = node.inputs[0].name or ""
        seen = subject.statistics.get(name)
        grid = subject.plan.root(name).grid if name in subject.plan.tensors else None
        if seen is None or grid is None or grid.is_float:
            continue
        step = (seen.high - seen.low) / (2**grid.bits - 1)
        if step < WIDEST_STEP:
            continue
        text = f"its scores span {seen.low:.3g} to {seen.high:.3g}: one step of {grid.bits} bits is {step:.2g}"
        why = f"half a step multiplies a probability by {math.exp(min(step / 2, 50)):.3g}"
        fix = "16 bits or float16 for the scores (--overrides); masks of -100 instead of -1e4 and less"
        yield about(subject.prepared, node, SOFTMAX_INPUT, "warning", text, why, fix, tensor=name)


# Encodings that do not fit: ranges that disagree with the data, scales that disagree with the weights.
#
# Given encodings are compared with those that the tensor's own range would have, in the same bits: an encoding that is
# 12 dB worse clips what it should hold, or wastes its bits. Biases must have the scale of the input times that of the
# weight, which the target assumes without looking.

WRONG_ENCODING = "wrong-encoding"
WORSE_DB = 12.0
GOOD_DB = 40.0
"""An encoding is wrong when it is so much worse than the tensor's own and not good in itself."""
FIX = "calibrate again, or leave the tensor out of the encodings: hexaquant quantize computes it"


def wrong_encoding(subject: Subject) -> Iterator[Finding]:
    """One error a tensor; activations need data, weights and biases do not."""
    for weight in weights_of(subject.imported):
        given = subject.given.get(weight.name)
        if given is None or given.grid.is_float:
            continue
        data = torch.tensor(weight.data).float()
        own, got = (
            sqnr_db(data.numpy(), fake_quantize(data, e).numpy()) for e in (encoding_of(data, given.grid), given)
        )
        if got > own - WORSE_DB or got >= GOOD_DB:
            continue
        text = f"the scale of '{weight.name}' leaves {got:.0f} dB, its own range {own:.0f} dB"
        why = "the layer computes with other weights than it was trained with"
        yield about(subject.imported, weight.node, WRONG_ENCODING, "error", text, why, FIX, tensor=weight.name)
    yield from _activations(subject)
    yield from _biases(subject)


def _activations(subject: Subject) -> Iterator[Finding]:
    for node in subject.prepared.nodes:
        for value in node.outputs:
            given = subject.given.get(value.name or "")
            seen = subject.statistics.get(value.name or "")
            if given is None or seen is None or given.grid.is_float or given.grid.bits == 32:
                continue
            seen = _clipped(seen, value)
            own = seen.sqnr_db(seen.encoding(given.grid.bits))
            got = seen.sqnr_db(given)
            if math.isnan(own) or got > own - WORSE_DB or got >= GOOD_DB:
                continue
            span = f"[{float(given.min):.3g}, {float(given.max):.3g}]"
            text = f"'{value.name}' is encoded for {span}, the data show [{seen.low:.3g}, {seen.high:.3g}]"
            clips = float(given.max) < seen.high / 1.5 or float(given.min) > seen.low / 1.5
            why = f"it {'clips' if clips else 'wastes its steps'}: {got:.0f} dB where {own:.0f} are possible"
            yield about(subject.prepared, node, WRONG_ENCODING, "error", text, why, FIX, tensor=value.name)


def _clipped(seen: TensorStatistics, value: oir.Value) -> TensorStatistics:
    """Before a Relu, whose clipping the encoding may do, only what passes the Relu counts."""
    reader = sole_consumer(value)
    if reader is None or reader.op_type not in ("Relu", "Clip"):
        return seen
    return TensorStatistics(seen.name, np.maximum(seen.values, 0), 0.0, max(seen.high, 0.0), seen.channel_peaks)


def _biases(subject: Subject) -> Iterator[Finding]:
    for node in subject.imported.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.inputs) < 3:
            continue
        found = [subject.given.get((v.name if v is not None else "") or "") for v in node.inputs[:3]]
        if any(e is None or e.grid.is_float for e in found):
            continue
        x, weight, bias = (_scale(e) for e in found if e is not None)
        wanted = x * weight
        if bias.size not in (1, wanted.size) or np.allclose(bias, wanted, rtol=1e-2):
            continue
        name = node.inputs[2].name if node.inputs[2] is not None else ""
        text = f"the scale of bias '{name}' is not that of the input times that of the weight"
        why = "the target takes the product for granted: the bias comes out wrong by the ratio"
        yield about(subject.imported, node, WRONG_ENCODING, "error", text, why, FIX, tensor=name)


def _scale(encoding: Encoding) -> np.ndarray:
    return encoding.scale.double().reshape(-1).numpy()
