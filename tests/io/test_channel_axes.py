"""The channel axis of a parameter comes from the op that reads it."""

import onnx_ir as oir
import pytest
import torch

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Grid, PerBlock, PerChannel
from hexaquant.io.channel_axes import block_axis, resolve_axes


def weight(op: str, shape: str, x: str = "float[1,4,4,4] x") -> oir.Value:
    text = f'<ir_version: 10, opset_import: ["": 21]> g ({x}, float[{shape}] w) => (float y) {{ y = {op} }}'
    return oir.from_onnx_text(text).graph.inputs[1]


def scales(count: int) -> Encoding:
    return Encoding(Grid(8, True, True, PerChannel(0)), torch.ones(count), torch.full((count,), -128.0))


@pytest.mark.parametrize(
    "op, shape, axis",
    [
        ("Conv(x, w)", "4,4,3,3", 0),
        ("ConvTranspose(x, w)", "4,4,3,3", 1),
        ("Gemm<transB=1>(x, w)", "4,4", 0),
        ("Gemm(x, w)", "4,4", 1),
        ("MatMul(x, w)", "2,4,4", 2),
        ("PRelu(x, w)", "4,1,1", 0),
        ("Add(x, w)", "4", 0),
        ("Add(x, w)", "1,4,1", 1),
        ("Gather(w, x)", "4,9", 0),
    ],
)
def test_axis_by_consumer(op: str, shape: str, axis: int) -> None:
    assert resolve_axes("w", scales(4), weight(op, shape)).grid.granularity == PerChannel(axis)


def test_several_scales_a_channel_are_blocks() -> None:
    resolved = resolve_axes("w", scales(12), weight("Gemm<transB=1>(x, w)", "4,6"))
    assert resolved.grid.granularity == PerBlock(1, 2, 0) and resolved.scale.shape == (4, 3)
    resolved = resolve_axes("w", scales(12), weight("MatMul(x, w)", "6,4"))
    assert resolved.grid.granularity == PerBlock(0, 2, 1) and resolved.scale.shape == (4, 3)


def test_a_wrong_count_is_an_error() -> None:
    with pytest.raises(EncodingError, match=r"'w' has 5 scales, which do not fit its shape \(4, 6\)"):
        resolve_axes("w", scales(5), weight("Gemm<transB=1>(x, w)", "4,6"))


def test_blocks_run_along_the_input_channels() -> None:
    assert [block_axis(channel, 2) for channel in (0, 1)] == [1, 0]
    assert [block_axis(channel, 3) for channel in (2, 1)] == [1, 0]
