"""Weights that their grid holds badly.

The weight is quantized as it would be (own range, per channel where the target can) and compared with itself: 8 bits
give 40 dB and more to a bell-shaped channel. Less than 25 dB means that single values set the range of their channel,
or that one scale serves channels of very different size (per tensor: an override, or a ConvTranspose in groups). 4 bits
are judged below 10 dB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.analysis.lint.weights import Weight, rows_of, weights_of
from hexaquant.core.encoding import encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid, PerTensor
from hexaquant.core.observers.weight_mse import mse_weight_encoding

RULE = "coarse-weight"
LEAST_DB = {4: 10.0, 8: 25.0, 16: 60.0}


def coarse_weight(subject: Subject) -> Iterator[Finding]:
    """One warning a layer, judged by its worst channel but one in ten."""
    for weight in weights_of(subject.prepared):
        plan = subject.plan.tensors.get(weight.name)
        if plan is None or plan.grid is None or plan.grid.is_float or plan.how != "own":
            continue
        db, channel = _worst(weight, plan.grid)
        if db >= LEAST_DB.get(plan.grid.bits, 25.0):
            continue
        per_tensor = isinstance(plan.grid.granularity, PerTensor)
        text = f"in {plan.grid.bits} bits the weights of a tenth of its channels have less than {db:.0f} dB"
        why = (
            "one scale serves all channels" if per_tensor else f"single large values set the range (channel {channel})"
        )
        fix = (
            "quantize per channel" if per_tensor else "clip them (weight observer mse, recipe 'best'), or use more bits"
        )
        if per_tensor:
            fix += ", or equalize the channels (step equalize_layers)"
        yield about(subject.prepared, weight.node, RULE, "warning", text, why, fix, tensor=weight.name)


def _worst(weight: Weight, grid: Grid) -> tuple[float, int]:
    """(SQNR below which a tenth of the channels lie, the worst channel); channels without weights are left out."""
    data = torch.tensor(weight.data).float()
    encoding = encoding_of(data, grid) if grid.bits >= 8 else mse_weight_encoding(data, grid)
    noise = rows_of(weight.node, (fake_quantize(data, encoding) - data).double().numpy())
    signal, lost = (weight.rows**2).sum(1), (noise**2).sum(1)
    alive = signal > 1e-12 * signal.max()
    dbs = 10 * np.log10(signal[alive] / np.maximum(lost[alive], 1e-30 * signal.max()))
    if not dbs.size:
        return float("inf"), 0
    return float(np.quantile(dbs, 0.1)), int(np.flatnonzero(alive)[dbs.argmin()])
