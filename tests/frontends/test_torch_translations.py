"""Adaptive pooling arrives as operators that the target has, whatever the memory layout and the size."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest
import torch
from torch import nn

from hexaquant.frontends import load


class ChannelsLast(nn.Module):
    """A pooled map that a permute has left in channels-last memory, as in ConvNeXt."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.linear, self.pool = nn.Linear(4, 6), pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, "GlobalAveragePool"), ((3, 2), "AveragePool"), ((5, 3), "MatMul"), ((None, 1), "AveragePool")],
)
@pytest.mark.parametrize("wrap", [nn.Sequential, ChannelsLast])
def test_adaptive_average_pooling_computes_the_same(wrap: type, size: object, expected: str) -> None:
    module = wrap(nn.AdaptiveAvgPool2d(size)).eval()
    graph = load(module, (torch.randn(2, 4, 12, 10),))
    kinds = {node.op_type for node in graph.nodes}
    assert expected in kinds and not kinds & {"Range", "Gather", "GatherND"}
    x = torch.randn(3, 4, 12, 10)
    session = onnxruntime.InferenceSession(
        oir.to_proto(graph.model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(got, module(x).numpy(), atol=1e-5)


def test_adaptive_average_pooling_of_signals_computes_the_same() -> None:
    x = torch.randn(2, 4, 10)
    for size in (1, 5, 3):
        graph = load(nn.Sequential(nn.AdaptiveAvgPool1d(size)), (x,))
        session = onnxruntime.InferenceSession(
            oir.to_proto(graph.model).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(got, nn.functional.adaptive_avg_pool1d(x, size).numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 5, 8), (1, 2, 3, 5, 8)])
@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_attention_of_any_rank_is_exported(shape: tuple[int, ...], mask: str) -> None:
    class Attention(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = x.roll(1, -1), x * 0.5, x.flip(-1)
            masks = {"bool": torch.ones(5, 5).tril() > 0, "float": torch.linspace(-1, 1, 25).reshape(5, 5)}
            causal = mask == "causal"
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, masks.get(mask), is_causal=causal)

    module, x = Attention().eval(), torch.randn(shape, generator=torch.Generator().manual_seed(0))
    graph = load(module, example_inputs=(x,))
    assert "Softmax" in [node.op_type for node in graph.nodes]
    session = onnxruntime.InferenceSession(
        oir.to_proto(graph.model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    [found] = session.run(None, {graph.inputs[0].name: x.numpy()})
    np.testing.assert_allclose(found, module(x).numpy(), atol=1e-6)
