"""Encodings that do not fit: ranges that disagree with the data, scales that disagree with the weights.

Given encodings are compared with those that the tensor's own range would have, in the same bits: an encoding that is
12 dB worse clips what it should hold, or wastes its bits. Biases must have the scale of the input times that of the
weight, which the target assumes without looking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.statistics import TensorStatistics
from hexaquant.analysis.lint.subject import Subject
from hexaquant.analysis.lint.weights import weights_of
from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.edit import sole_consumer

RULE = "wrong-encoding"
WORSE_DB, GOOD_DB = 12.0, 40.0
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
        yield about(subject.imported, weight.node, RULE, "error", text, why, FIX, tensor=weight.name)
    yield from _activations(subject)
    yield from _biases(subject)


def _activations(subject: Subject) -> Iterator[Finding]:
    for node in subject.prepared.nodes:
        for value in node.outputs:
            given, seen = subject.given.get(value.name or ""), subject.statistics.get(value.name or "")
            if given is None or seen is None or given.grid.is_float or given.grid.bits == 32:
                continue
            seen = _clipped(seen, value)
            own, got = seen.sqnr_db(seen.encoding(given.grid.bits)), seen.sqnr_db(given)
            if math.isnan(own) or got > own - WORSE_DB or got >= GOOD_DB:
                continue
            span = f"[{float(given.min):.3g}, {float(given.max):.3g}]"
            text = f"'{value.name}' is encoded for {span}, the data show [{seen.low:.3g}, {seen.high:.3g}]"
            clips = float(given.max) < seen.high / 1.5 or float(given.min) > seen.low / 1.5
            why = f"it {'clips' if clips else 'wastes its steps'}: {got:.0f} dB where {own:.0f} are possible"
            yield about(subject.prepared, node, RULE, "error", text, why, FIX, tensor=value.name)


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
        yield about(subject.imported, node, RULE, "error", text, why, FIX, tensor=name)


def _scale(encoding: Encoding) -> np.ndarray:
    return encoding.scale.double().reshape(-1).numpy()
