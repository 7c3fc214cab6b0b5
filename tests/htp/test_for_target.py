"""Rewrites for the target: the operators change, the function does not."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from hexaquant.frontends import load
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph


class TokenMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(x)))


class SequenceFirst(nn.Module):
    """The batch is the second dimension where the layer runs, as inside nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.up(x.transpose(0, 1))).transpose(0, 1)


CASES = {
    "linear layer on tokens, sequence first": (SequenceFirst(), torch.randn(2, 5, 8)),
    "linear layers on tokens": (TokenMlp(), torch.randn(2, 5, 8)),
    "group norm": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.ReLU()), torch.randn(2, 3, 7, 6)),
    "convolution without bias": (nn.Sequential(nn.Conv2d(3, 8, 3, bias=False)), torch.randn(2, 3, 7, 6)),
    "transposed without bias": (nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=False), torch.randn(1, 4, 5, 5)),
}


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    import onnx_ir as oir

    session = ort.InferenceSession(oir.to_proto(graph.model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("name", CASES)
def test_function_is_preserved_for_another_batch(name: str) -> None:
    module, x = CASES[name]
    for layer in module.modules():
        if isinstance(layer, nn.GroupNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    graph = load(module.eval(), (x,))
    prepare_for_target(graph)
    other = torch.cat([x, x * 0.5 + 0.1])
    with torch.no_grad():
        np.testing.assert_allclose(run(graph, other.numpy()), module(other).numpy(), rtol=1e-4, atol=1e-5)


def test_linear_layers_keep_their_parameter_names_and_get_int32_biases() -> None:
    module, x = CASES["linear layers on tokens"]
    graph = load(module.eval(), (x,))
    prepare_for_target(graph)
    gemms = [node for node in graph.nodes if node.op_type == "Gemm"]
    assert len(gemms) == 2
    assert all(len(node.inputs) == 3 for node in gemms), "each has a bias, the second one of zeros"
    assert not [node for node in graph.nodes if node.op_type == "MatMul"]
    assert gemms[0].inputs[2] is not None and gemms[0].inputs[2].name == "up.bias"


def test_a_linear_layer_whose_batch_is_not_first_becomes_a_gemm() -> None:
    module, x = CASES["linear layer on tokens, sequence first"]
    graph = load(module.eval(), (x,))
    prepare_for_target(graph)
    kinds = [node.op_type for node in graph.nodes]
    assert kinds.count("Gemm") == 1 and "MatMul" not in kinds


def test_group_norm_is_gone() -> None:
    module, x = CASES["group norm"]
    graph = load(module.eval(), (x,))
    prepare_for_target(graph)
    kinds = {node.op_type for node in graph.nodes}
    assert "GroupNormalization" not in kinds and "InstanceNormalization" in kinds


def test_a_bias_shared_by_two_layers_becomes_one_for_each() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) + self.head(2.0 * x - 1.0)

    module, x = Shared(), torch.randn(2, 3, 4, 4)
    graph = load(module.eval(), (x,))
    assert prepare_for_target(graph)["separate_biases"] == 1
    first, second = (node for node in graph.nodes if node.op_type == "Conv")
    assert first.inputs[1] is second.inputs[1], "the weight stays shared"
    assert first.inputs[2] is not second.inputs[2]
    with torch.no_grad():
        np.testing.assert_allclose(run(graph, x.numpy()), module(x).numpy(), rtol=1e-4, atol=1e-5)
