"""torch.compile sees a training step as one graph, with the values and gradients of the step without it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.grid import Grid, PerChannel, PerTensor
from hexaquant.qat.learn import learn_encodings
from hexaquant.qat.lsq import learned_fake_quantize, traceable_fake_quantize
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import conv_net, quantized

X = torch.from_numpy(random(5, 3, 8, 8, seed=7))


def step(model: QuantizedModel, call: object) -> tuple[Tensor, dict[str, Tensor]]:
    """(outputs, gradients by parameter) of one forward and backward."""
    model.zero_grad(set_to_none=True)
    outputs = call(1.1 * X)  # type: ignore[operator]
    outputs.square().mean().backward()
    return outputs.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(expected: dict[str, Tensor], got: dict[str, Tensor]) -> None:
    """Equal to 1e-3 of their own size, or to a hundredth of float32's step at the size of the largest gradient.

    The gradient of a range of 16 bits is what remains of terms as large as those of the weights, a hundred million
    times smaller: the order of summation, another one on each processor, is all of its last digits (measured: up to
    1e-9 beside a largest gradient of 23, where this allows 3e-8). A gradient that is absent is still ten times that.
    """
    assert expected.keys() == got.keys()
    noise = 1e-2 * torch.finfo(torch.float32).eps * max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        own = 1e-3 * float(gradient.abs().max())
        assert torch.allclose(gradient, got[name], rtol=1e-3, atol=max(own, noise)), name


@pytest.mark.parametrize("scheme", ["w8a8", "w4a16"])
def test_a_compiled_step_is_one_graph_and_the_same_step(scheme: str) -> None:
    model = quantized(conv_net(), scheme)
    learn_encodings(model)
    model.train()
    outputs, gradients = step(model, model)
    torch._dynamo.reset()
    compiled_outputs, compiled = step(model, torch.compile(model, backend="aot_eager", fullgraph=True))
    assert torch.allclose(outputs, compiled_outputs, atol=1e-6)
    assert_same_gradients(gradients, compiled)


def test_a_compiled_step_without_learned_ranges_is_one_graph_too() -> None:
    model = quantized(conv_net()).train()
    outputs, gradients = step(model, model)
    torch._dynamo.reset()
    compiled_outputs, compiled = step(model, torch.compile(model, backend="aot_eager", fullgraph=True))
    assert torch.allclose(outputs, compiled_outputs, atol=1e-6)
    assert_same_gradients(gradients, compiled)


def test_training_continues_with_scales_that_moved() -> None:
    model = quantized(conv_net())
    learn_encodings(model)
    model.train()
    torch._dynamo.reset()
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        step(model, call)
        optimizer.step()
    expected = copy.deepcopy(model)(1.1 * X)
    assert torch.allclose(call(1.1 * X), expected, atol=1e-5)


@pytest.mark.parametrize(
    "grid", [Grid(4), Grid(8, False, False, PerTensor()), Grid(4, True, True, PerChannel(0))], ids=str
)
def test_tensor_arithmetic_gives_the_same_numbers(grid: Grid) -> None:
    v = 3 * torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(1))
    shape = () if isinstance(grid.granularity, PerTensor) else (6,)
    scale = torch.full(shape, 0.3) * (1 + torch.arange(6.0).reshape(6) / 10 if shape else 1)
    offset = torch.full(shape, -float(grid.levels // 2))
    results = []
    for traceable in (False, True):
        leaf, s, o = (t.clone().requires_grad_() for t in (v, scale, offset))
        if traceable:
            out = traceable_fake_quantize(leaf, s, o, grid)
        else:
            out = learned_fake_quantize(leaf, s, o, Encoding(grid, scale, offset))
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(2)))
        results.append((out, leaf.grad, s.grad, o.grad))
    for plain, traced in zip(*results):
        assert torch.allclose(plain, traced, rtol=1e-4, atol=1e-6)


def test_bfloat16_values_are_quantized_in_float32() -> None:
    v, s, offset = torch.randn(64).bfloat16(), torch.tensor(0.01), torch.tensor(-128.0)
    out = traceable_fake_quantize(v, s, offset, Grid(8))
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, Encoding(Grid(8), s, offset).fake_quantize(v.float()).bfloat16())
