"""Graphs whose tensors share names with parameters, and what the checker of the invariants finds."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.core.errors import HexaquantError
from hexaquant.ir.graph import Graph
from hexaquant.ir.invariants import broken_invariants, require_invariants
from hexaquant.ir.normalize import normalize
from ir.onnx_text import graph, random


class Normalized(nn.Module):
    """A buffer called like the operator that follows: torch.export calls the output of mean ``mean`` as well."""

    def __init__(self, *, is_output: bool) -> None:
        super().__init__()
        self.is_output = is_output
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x - self.mean).mean((2, 3))
        return y if self.is_output else 2 * y


@pytest.mark.parametrize("is_output", [True, False])
def test_a_buffer_named_like_an_operator_keeps_its_name_and_the_simulation_is_right(is_output: bool) -> None:
    torch.manual_seed(0)
    module, x = Normalized(is_output=is_output).eval(), torch.randn(1, 3, 8, 8)
    loaded = hq.load(module, example_inputs=(x,))
    names = [value.name for value in loaded.values()]
    assert len(set(names)) == len(names) and "mean" in loaded.initializers
    model = hq.quantize(loaded, [x.numpy()], recipe="plain")
    with torch.no_grad():
        assert torch.allclose(model(x), module(x), atol=0.05)


def chain() -> Graph:
    return normalize(graph("(float[1,4] x) => (float[1,4] y) { a = Relu (x)\n y = Add (a, c) }", c=random(4)))


def test_a_normalized_graph_has_them() -> None:
    assert list(broken_invariants(chain())) == []


def test_a_name_that_two_tensors_have_is_told() -> None:
    model = chain()
    model.nodes[0].outputs[0].name = "c"
    with pytest.raises(HexaquantError, match="test after a pass: two tensors are called 'c'"):
        require_invariants(model, "a pass")


def test_a_node_before_what_it_reads_is_told() -> None:
    model = chain()
    first, second = model.nodes
    model.model.graph.remove(second)
    model.model.graph.insert_before(first, second)
    assert "reads 'a' before it is computed" in " ".join(broken_invariants(model))


def test_a_constant_that_is_an_input_or_of_another_type_is_told() -> None:
    model = chain()
    model.model.graph.inputs.append(model.initializers["c"])
    assert "the constant 'c' is a graph input, too" in list(broken_invariants(model))
    model = chain()
    model.initializers["c"].const_value = oir.tensor(np.zeros(4, np.int64), name="c")
    assert "the constant 'c' says FLOAT and holds INT64" in list(broken_invariants(model))


def test_two_nodes_of_one_name_are_told() -> None:
    model = chain()
    for node in model.nodes:
        node.name = "n"
    assert list(broken_invariants(model)) == ["two nodes are called 'n' (Add)"]
