"""Average pooling that the target gets wrong is rewritten, computes the same, and reaches the target unharmed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.frontends import load
from hexaquant.htp.pooling import form_pooling
from hexaquant.ir.graph import Graph


def evaluate(graph: Graph, x: np.ndarray) -> np.ndarray:
    model = oir.to_proto(graph.model).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


REWRITTEN = {
    "even tiles": (nn.AvgPool2d(4), (12, 12), ["AveragePool"] * 2),
    "uneven even tiles": (nn.AvgPool2d((8, 4)), (16, 12), ["AveragePool"] * 2),
    "tiles that leave a rest": (nn.AvgPool2d(6), (16, 16), ["AveragePool"] * 2),
    "ceil": (nn.AvgPool2d(2, 2, ceil_mode=True), (11, 9), ["AveragePool"]),
    "ceil with padding": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (12, 12), ["AveragePool", "Mul"]),
    "ceil with padding that does not count": (
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        (12, 10),
        ["AveragePool", "Mul"],
    ),
    "ceil of even tiles": (nn.AvgPool2d(4, ceil_mode=True), (11, 9), ["AveragePool"] * 2),
    "even tiles with padding": (nn.AvgPool2d(4, 4, 2), (12, 12), ["AveragePool", "AveragePool", "Mul"]),
    "even tiles with padding that does not count": (
        nn.AvgPool2d(4, 4, 2, count_include_pad=False),
        (12, 12),
        ["AveragePool"] * 2,
    ),
    "tiles with padding that counts": (nn.AvgPool2d(3, 3, 1), (12, 12), ["AveragePool", "Mul"]),
    "ceil that adds nothing": (nn.AvgPool2d(2, 2, ceil_mode=True), (12, 12), ["AveragePool"]),
    "everything": (nn.AvgPool2d(8), (8, 8), ["GlobalAveragePool"]),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_rewritten_pooling_computes_the_same(name: str) -> None:
    pool, size, kinds = REWRITTEN[name]
    graph = load(nn.Sequential(pool), (torch.randn(2, 3, *size),))
    assert form_pooling(graph) == 1
    assert [node.op_type for node in graph.nodes] == kinds
    x = torch.randn(3, 3, *size)
    np.testing.assert_allclose(evaluate(graph, x.numpy()), pool(x).numpy(), atol=1e-6)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AvgPool2d(3), nn.AvgPool2d((4, 2)), nn.AvgPool2d(4, 2, 1)])
def test_pooling_that_the_target_gets_right_is_left_alone(pool: nn.Module) -> None:
    graph = load(nn.Sequential(pool), (torch.randn(2, 3, 12, 12),))
    assert form_pooling(graph) == 0
    assert graph.nodes[0].op_type == "AveragePool"


class Pools(nn.Module):
    """Several poolings of one map, each an output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.pools = nn.ModuleList(
            [
                nn.AvgPool2d(4),
                nn.AvgPool2d(6),
                nn.AvgPool2d(3, 2, 1, ceil_mode=True),
                nn.AvgPool2d(3, 3, ceil_mode=True),
            ]
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        return tuple(pool(x) for pool in self.pools)


def test_the_target_computes_what_the_simulation_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = [torch.randn(1, 3, 16, 16).numpy() for _ in range(16)]
    report = hq.deploy(
        Pools().eval(), data, tmp_path, eval_data=data[:2], example_inputs=(torch.from_numpy(data[0]),), metric=None
    )
    assert [output["sim_vs_target_max_lsb"] <= 2.01 for output in report["outputs"]] == [True] * 4
