"""Weights of a network that came quantized keep the encoding that they came with, to the last bit.

1. The constant notes the steps that its integers had (ir/passes/dequantized.py), one or one per output channel.
2. Its numbers still are multiples of them: nothing has scaled or mixed them since.
3. The plan's grid is symmetric, per tensor or per channel, and holds the multiples. Where it has more bits than they
   need, the same numbers stand on a finer grid, q s = (q 2^k)(s / 2^k): biases are multiples of the step, too.
"""

from __future__ import annotations

import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.grid import Grid, PerChannel, PerTensor
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.dequantized import steps_of
from hexaquant.sim.model import QuantizedModel

FROM_FILE = "file"
"""What stands as the observer of a weight whose encoding came with the file."""
WIDTHS = (4, 8, 16)
NEAR = 1e-3
"""Of a step: so far may float32 rounding take a multiple of it."""


def encoding_in_file(value: oir.Value, grid: Grid) -> Encoding | None:
    """The encoding that the weight ``value`` came with as one of ``grid``; None where a condition does not hold."""
    steps = steps_of(value)
    data = constant(value)
    layout = grid.granularity
    if steps is None or data is None or grid.is_float or not grid.symmetric or not data.size:
        return None
    if not isinstance(layout, PerChannel | PerTensor):
        return None
    count = data.shape[layout.axis] if isinstance(layout, PerChannel) else 1
    if steps.size not in (1, count) or not bool((steps > 0).all()):
        return None
    scale = torch.from_numpy(steps).expand(count).contiguous()
    weights = torch.from_numpy(data.copy()).double()
    rows = (
        weights.movedim(layout.axis, 0).reshape(count, -1) if isinstance(layout, PerChannel) else weights.reshape(1, -1)
    )
    multiples = rows / scale.double()[:, None]
    whole = multiples.round()
    if float((multiples - whole).abs().max()) > NEAR or not _holds(whole, grid.bits):
        return None
    needed = next(bits for bits in WIDTHS if _holds(whole, bits))
    scale = scale / 2.0 ** max(grid.bits - needed, 0)
    scale = scale if isinstance(layout, PerChannel) else scale.reshape(())
    return Encoding(grid, scale, torch.full_like(scale, float(grid.symmetric_offset)))


def _holds(whole: Tensor, bits: int) -> bool:
    half = 2 ** (bits - 1)
    return -half <= float(whole.min()) and float(whole.max()) <= half - 1


def note_of_kept(model: QuantizedModel) -> str | None:
    """How many of the weights that came as integers have the encoding that they came with; None where none did."""
    graph = model.source_graph
    came = [p for p in model.plan if p.role == "weight" and p.grid is not None and _came(graph, p.name)]
    if not came:
        return None
    kept = [plan.name for plan in came if _is_kept(model, plan.name)]
    text = f"{len(kept)} of {len(came)} quantized weights have the encoding that they came with"
    others = [plan.name for plan in came if plan.name not in kept]
    return text if not others else f"{text}; quantized anew: {', '.join(others)}"


def _came(graph: Graph, name: str) -> bool:
    return name in graph.initializers and steps_of(graph.initializers[name]) is not None


def _is_kept(model: QuantizedModel, name: str) -> bool:
    quantizer = model.quantizers[name]
    given = encoding_in_file(model.source_graph.initializers[name], quantizer.grid)
    return given is not None and given.same_as(quantizer.encoding)
