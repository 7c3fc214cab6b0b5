"""Each operator equals onnxruntime and lets gradients through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hexaquant.ir.executor.table import OPS

from .cases import convolution, elementwise, movement, normalization, sampling
from .op_case import OpCase, executed, onnxruntime_outputs, outputs_of

CASES = [*elementwise.CASES, *convolution.CASES, *normalization.CASES, *movement.CASES, *sampling.CASES]
RANDOM = {"RandomUniformLike", "RandomNormalLike"}
NOT_DIFFERENTIABLE = {
    *("Floor", "Ceil", "Round", "Sign", "Shape", "Size", "ArgMax", "ArgMin", "Hardmax", "NonZero", "Range"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsNaN", "IsInf", "EyeLike", "ConstantOfShape"),
    *("QuantizeLinear", "CastLike", "OneHot"),
}


def _differentiable(case: OpCase) -> bool:
    floats = any(x is not None and x.dtype == np.float32 and x.size for x in case.inputs[:1])
    return floats and case.op not in NOT_DIFFERENTIABLE and not (case.op == "Cast" and case.name != "to_float")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_onnxruntime(case: OpCase) -> None:
    module, inputs = executed(case)
    results = outputs_of(module(*inputs))
    for got, want in zip(results, onnxruntime_outputs(case), strict=True):
        assert tuple(got.shape) == want.shape
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-4, atol=case.atol)


@pytest.mark.parametrize("case", [c for c in CASES if c.constant], ids=str)
def test_computed_inputs_give_the_same_as_constant_ones(case: OpCase) -> None:
    constant_module, constant_inputs = executed(case)
    held = tuple(i for i in case.constant if str(getattr(case.inputs[i], "dtype", "")) in ("int4", "uint16"))
    computed_module, all_inputs = executed(case, constant=held)
    for a, b in zip(
        outputs_of(constant_module(*constant_inputs)), outputs_of(computed_module(*all_inputs)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if _differentiable(c)], ids=str)
def test_gradients_of_inputs_and_parameters_are_finite(case: OpCase) -> None:
    module, inputs = executed(case)
    if inputs and inputs[0].is_floating_point():
        inputs[0].requires_grad_()
    floats = [y for y in outputs_of(module(*inputs)) if y.is_floating_point() and y.requires_grad]
    assert floats, "no output carries a gradient"
    sum(y.square().sum() for y in floats).backward()
    leaves: list[torch.Tensor] = [inputs[0], *(p for p in module.parameters() if p.requires_grad)]
    for leaf in leaves:
        if isinstance(leaf, nn.Parameter) or leaf.requires_grad:
            assert leaf.grad is not None
            assert bool(torch.isfinite(leaf.grad).all())


def test_every_operator_of_the_table_has_a_case() -> None:
    tested = {(case.domain, case.op) for case in CASES}
    same_function = {("com.microsoft", "QuantizeLinear"), ("com.microsoft", "DequantizeLinear")}
    assert {key for key in OPS if key not in tested and key[1] not in RANDOM} == same_function


@pytest.mark.parametrize(("op", "low", "high"), [("RandomUniformLike", 2.0, 3.0), ("RandomNormalLike", -6.0, 6.0)])
def test_random_operators_keep_shape_and_range(op: str, low: float, high: float) -> None:
    attributes = {"low": 2.0, "high": 3.0} if op == "RandomUniformLike" else {}
    module, inputs = executed(OpCase(op, (np.zeros((50, 4), np.float32),), attributes))
    y = module(*inputs)
    assert y.shape == (50, 4)
    assert low <= y.min() < y.max() <= high
