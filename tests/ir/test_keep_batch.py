"""A batch of 1 that an exporter wrote into Reshapes becomes a copied dimension: several samples run at once."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
import torch

from hexaquant.frontends import load
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph, constant

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


def network(body: str, inputs: str = "float[1, 4, 2] x") -> Graph:
    return load(onnx.parser.parse_model(HEADER + f"net ({inputs}) => (float[a, b] y) {body}"))


def targets(graph: Graph) -> list[list[int]]:
    return [constant(n.inputs[1]).tolist() for n in graph.nodes if n.op_type == "Reshape"]  # type: ignore[union-attr]


@pytest.mark.parametrize("target", ["1, 8", "1, -1", "1, 2, 4"])
def test_a_batch_written_as_a_number_is_copied(target: str) -> None:
    size = target.count(",") + 1
    graph = network(f"<int64[{size}] t = {{{target}}}> {{ r = Relu(x) s = Reshape <allowzero = 1> (r, t) y = Abs(s) }}")
    assert [shape[0] for shape in targets(graph)] == [0]
    x = torch.randn(5, 4, 2)
    module = build_module(graph)
    together = module(x)
    single = torch.cat([module(x[i : i + 1]) for i in range(5)])
    assert together.shape[0] == 5 and torch.equal(together, single)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("<int64[2] t = {1, 8}> { y = Reshape(x, t) }", "float[4, 2] x"),
        ("<int64[2] t = {2, 4}> { y = Reshape(x, t) }", "float[1, 4, 2] x"),
        ("<int64[2] t = {1, 8}> { m = Transpose <perm = [1, 0, 2]> (x) y = Reshape(m, t) }", "float[1, 4, 2] x"),
        ("<int64[2] t = {1, 8}> { a = Add(x, z) y = Reshape(a, t) }", "float[1, 4, 2] x, float[4, 2] z"),
    ],
    ids=["no batch", "batch split", "batch moved", "an input without a batch"],
)
def test_other_ones_are_left_alone(body: str, inputs: str) -> None:
    assert all(shape[0] != 0 for shape in targets(network(body, inputs)))


def test_the_network_computes_the_same() -> None:
    text = "<int64[2] t = {1, 8}> { r = Relu(x) y = Reshape(r, t) }"
    x = np.random.default_rng(0).normal(size=(1, 4, 2)).astype(np.float32)
    got = build_module(network(text))(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(got, np.maximum(x, 0).reshape(1, 8))
