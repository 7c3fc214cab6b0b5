"""core.grid rounds and clips exactly as onnxruntime's QuantizeLinear and DequantizeLinear do."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.grid import Granularity, Grid, PerBlock, PerChannel, PerTensor

STORED = {
    (4, False): TensorProto.UINT4,
    (4, True): TensorProto.INT4,
    (8, False): TensorProto.UINT8,
    (8, True): TensorProto.INT8,
    (16, False): TensorProto.UINT16,
    (16, True): TensorProto.INT16,
}


def onnx_qdq(x: Tensor, encoding: Encoding) -> Tensor:
    """``x`` through a QuantizeLinear and a DequantizeLinear node in unoptimised onnxruntime."""
    grid = encoding.grid
    kind = STORED[grid.bits, grid.signed]
    zero = -encoding.offset.numpy().astype(np.int64) - (grid.levels // 2 if grid.signed else 0)
    scale, where = encoding.scale.numpy(), {}
    if isinstance(grid.granularity, PerChannel):
        where = {"axis": grid.granularity.axis}
    if isinstance(grid.granularity, PerBlock):
        where = {"axis": grid.granularity.axis, "block_size": grid.granularity.block_size}
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, scale.shape, scale.ravel()),
        helper.make_tensor("zero", kind, zero.shape, zero.ravel()),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **where),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], **where),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "qdq", value[:1], value[1:], constants),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def values_with_ties(encoding: Encoding, shape: tuple[int, ...]) -> Tensor:
    """Random values, some beyond the range, and a third of them as near to the middle of two steps as floats get."""
    scale, _ = encoding.expanded(shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2
    ties = (torch.floor(x / scale) + 0.5) * scale
    return torch.where(torch.arange(x.numel()).reshape(shape) % 3 == 0, ties, x)


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(0), PerChannel(1), PerBlock(1, 8)], ids=str)
@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize(("bits", "signed"), STORED, ids=str)
def test_rounding_equals_onnxruntime(bits: int, signed: bool, symmetric: bool, granularity: Granularity) -> None:
    shape = (48, 64)
    known = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    encoding = encoding_of(known, Grid(bits, signed, symmetric, granularity))
    x = values_with_ties(encoding, shape)
    assert torch.equal(encoding.fake_quantize(x), onnx_qdq(x, encoding))
