"""Plans of constants: weights, biases and the constant operands of other operators."""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.core.grid import Granularity, Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.htp import kernels
from hexaquant.htp.scheme import Scheme
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.sim.from_file import FROM_FILE, encoding_in_file
from hexaquant.sim.overrides import Overrides, Setting
from hexaquant.sim.plan import TensorPlan

_PARAMETERS: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Dropout": (1, 2),
    "LSTM": (4,),
    "GRU": (4,),
}


def is_parameter(op_type: str, index: int) -> bool:
    """True when input ``index`` of ``op_type`` configures the operator rather than being data."""
    return index in _PARAMETERS.get(op_type, ())


def weight_plan(graph: Graph, node: oir.Node, value: oir.Value, scheme: Scheme, overrides: Overrides) -> TensorPlan:
    """Symmetric, signed, per output channel (or as the override says)."""
    name = value.name or ""
    origin = graph.origin(node)
    setting = overrides.find(name, node.name or "", origin.module) or Setting()
    chosen = setting.scheme or scheme
    bits = setting.bits if overrides.find(name) and setting.bits else chosen.weight_bits
    rank = len(shape_of(value) or ())
    axis = _channel_axis(node, rank)
    granularity = _granularity(setting, axis, node, rank)
    _require_blocks(granularity, value, str(origin))
    grid = Grid(bits, True, True, granularity)
    observer = setting.observer or (FROM_FILE if encoding_in_file(value, grid) is not None else None)
    return TensorPlan(name, "weight", "own", grid, layer=str(origin), observer=observer)


def _require_blocks(granularity: Granularity, value: oir.Value, layer: str) -> None:
    if not isinstance(granularity, PerBlock | Lpbq):
        return
    shape = shape_of(value) or ()
    size = shape[granularity.axis]
    if not isinstance(size, int) or size % granularity.block_size:
        raise InputError(
            f"weight '{value.name}' of {layer} has shape {list(shape)}: axis {granularity.axis} is not a multiple of "
            f"the block size {granularity.block_size}; override it with another block_size, or leave this layer out"
        )


def _channel_axis(node: oir.Node, rank: int) -> int | None:
    attributes = {key: node.attributes.get_int(key, 0) for key in ("transB",)}
    attributes["group"] = node.attributes.get_int("group", 1) or 1
    return kernels.channel_axis(node.op_type, {k: int(v or 0) for k, v in attributes.items()}, rank)


def _granularity(setting: Setting, axis: int | None, node: oir.Node, rank: int) -> Granularity:
    if axis is None or setting.granularity == "tensor":
        return PerTensor()
    if setting.granularity not in ("block", "lpbq"):
        return PerChannel(axis)
    reduced = rank - 2 if node.op_type == "MatMul" else 1 - axis
    size = setting.block_size or 32
    if setting.granularity == "block":
        return PerBlock(reduced, size, axis)
    return Lpbq(reduced, size, axis)


def constant_plan(graph: Graph, node: oir.Node, index: int, value: oir.Value, grid: Grid) -> TensorPlan:
    """Another constant operand: on the activation grid of its operator, with the range of its own values.

    The gamma of a normalization is 8-bit unsigned asymmetric whatever the activations are.
    """
    layer = str(graph.origin(node))
    if node.op_type == "PRelu" and index == 1:
        return TensorPlan(value.name or "", "constant", "own", Grid(8), layer=layer)
    if node.op_type in kernels.NORMALIZATIONS:
        return TensorPlan(value.name or "", "constant", "own", Grid(8), layer=layer)
    return TensorPlan(value.name or "", "constant", "own", Grid(grid.bits, False, grid.symmetric), layer=layer)


def bias_plan(graph: Graph, node: oir.Node, bias: oir.Value, tensors: dict[str, TensorPlan]) -> TensorPlan:
    """int32, scale = scale of the input times scale of the weight; float when either is not quantized."""
    name = bias.name or ""
    layer = str(graph.origin(node))
    x = node.inputs[0]
    weight = node.inputs[1]
    x_plan = tensors.get(x.name or "") if x is not None else None
    weight_plan_ = tensors.get(weight.name or "") if weight is not None else None
    if x_plan is None or weight_plan_ is None or not (x_plan.is_quantized and weight_plan_.is_quantized):
        return TensorPlan(name, "bias", "float", layer=layer, reason="its operator computes in float16")
    grid = Grid(32, True, True, PerChannel(0))
    return TensorPlan(name, "bias", "derived", grid, source=x_plan.name, weight=weight_plan_.name, layer=layer)
