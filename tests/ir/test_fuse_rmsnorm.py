"""RMSNorm as PyTorch and others write it becomes one operator, and only then."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as oir
import pytest
import torch
from onnx_text import assert_same, graph, ops, random
from torch import Tensor, nn

from hexaquant.frontends import load
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.transforms.rotate_transformer import rotate_transformer

HEAD = "(float[N,3,8] x) => (float[N,3,8] y) "
CONSTANTS = {
    "two": np.float32(2),
    "half": np.float32(0.5),
    "minus": np.float32(-0.5),
    "one": np.float32(1),
    "eps": np.float32(1e-5),
    "axes": np.array([-1]),
    "w": random(8, seed=1) + 2,
}
MEAN = "s = Mul(x, x) m = ReduceMean<keepdims=1>(s, axes) v = Add(m, eps) "


def model(body: str, head: str = HEAD) -> Graph:
    used = {name: data for name, data in CONSTANTS.items() if f" {name}" in body or f"({name}" in body}
    return graph(head + "{" + body + "}", 21, **used)


@pytest.mark.parametrize(
    "quotient",
    [
        "r = Sqrt(v) n = Div(x, r) y = Mul(n, w)",
        "r = Sqrt(v) i = Reciprocal(r) n = Mul(x, i) y = Mul(w, n)",
        "r = Sqrt(v) i = Div(one, r) n = Mul(i, x) y = Mul(n, w)",
        "r = Pow(v, half) n = Div(x, r) y = Mul(n, w)",
        "i = Pow(v, minus) n = Mul(x, i) y = Mul(n, w)",
        "r = Sqrt(v) y = Div(x, r)",
    ],
)
def test_every_way_to_write_it_is_one_operator(quotient: str) -> None:
    before = model(MEAN + quotient)
    after = normalize(before)
    onnx.checker.check_model(oir.to_proto(after.model))
    assert ops(after) == ["RMSNormalization"]
    assert_same(before, after, {"x": random(2, 3, 8)}, rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "s = Mul(x, x) m = ReduceMean<keepdims=1>(s, axes) r = Sqrt(m) y = Div(x, r)",
        "a = Abs(x) s = Mul(a, x) m = ReduceMean<keepdims=1>(s, axes) v = Add(m, eps) r = Sqrt(v) y = Div(x, r)",
        MEAN + "r = Sqrt(v) y = Mul(x, r)",
    ],
)
def test_what_is_another_function_is_left(body: str) -> None:
    assert "RMSNormalization" not in ops(normalize(model(body)))


def test_a_quotient_that_is_read_twice_keeps_its_factor_apart() -> None:
    before = model(MEAN + "r = Sqrt(v) n = Div(x, r) z = Mul(n, w) y = Add(z, n)")
    after = normalize(before)
    assert ops(after) == ["RMSNormalization", "Mul", "Add"]
    assert_same(before, after, {"x": random(2, 3, 8)}, rtol=1e-6)


class Llama(nn.Module):
    """A residual block with the normalization that Llama's implementations write by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.rand(16) + 0.5) for _ in range(2))
        self.embed, self.up, self.down, self.head = (nn.Linear(*s) for s in ((8, 16), (16, 32), (32, 16), (16, 4)))

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.down(torch.relu(self.up(self.norm(x, self.first))))
        return self.head(self.norm(x, self.second))


def test_pytorch_networks_are_rotated_now() -> None:
    torch.manual_seed(0)
    imported = load(Llama().eval(), (torch.randn(2, 5, 8),))
    assert ops(imported).count("RMSNormalization") == 2
    for norm in (nn.RMSNorm(16), nn.RMSNorm(16, elementwise_affine=False)):
        assert ops(load(norm, (torch.randn(2, 5, 16),))) == ["RMSNormalization"]
    prepared = imported.clone()
    prepare_for_target(prepared)
    result = rotate_transformer(prepared)
    assert result.spaces == [16], result.declined
    assert_same(imported, prepared, {imported.inputs[0].name: random(2, 5, 8)})


def test_a_rank_that_the_target_lacks_stays_in_parts() -> None:
    head = "(float[2,3,2,2,8] x) => (float[2,3,2,2,8] y) "
    assert "RMSNormalization" not in ops(normalize(model(MEAN + "r = Sqrt(v) y = Div(x, r)", head)))
