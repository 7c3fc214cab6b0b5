"""Scale limits against int32 arithmetic done in numpy as the target does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hexaquant.htp.overflow import BIAS_LIMIT, MIN_REQUANT, safe_weight_scale

FINE = torch.tensor([1e-3, 2e-3])


def bias_integers(bias: torch.Tensor, x_scale: float, scale: torch.Tensor) -> np.ndarray:
    return np.round(bias.double().numpy() / (x_scale * scale.double().numpy()))


def test_ordinary_scales_are_left_as_they_are() -> None:
    safe = safe_weight_scale(FINE, 0.01, 0.05, -128.0, torch.tensor([1.0, -2.0]))
    assert torch.equal(safe, FINE)


def test_a_bias_that_overflows_int32_raises_the_scale_just_enough() -> None:
    scale, bias = torch.tensor([2.0**-23, 1e-3]), torch.tensor([100.0, 100.0])
    assert bias_integers(bias, 1e-3, scale)[0] > 2**31 - 1
    safe = safe_weight_scale(scale, 1e-3, None, 0.0, bias)
    integers = bias_integers(bias, 1e-3, safe)
    assert np.array_equal(integers.astype(np.int32).astype(np.float64), integers)
    assert 0.99 * 2**30 < integers[0] < 1.01 * 2**30 and safe[1] == scale[1]


def test_the_requantization_factor_does_not_underflow() -> None:
    safe = safe_weight_scale(torch.tensor([1e-9, 1e-3]), 1e-4, 10.0, -128.0, None)
    factors = 1e-4 * safe.double() / 10.0
    assert bool((factors > 2.0**-24).all())
    assert float(factors[0]) == pytest.approx(MIN_REQUANT, rel=1e-6)


def test_the_zero_point_folded_into_the_bias_fits_int32() -> None:
    x_scale, y_scale, y_offset = 1e-3, 0.5, -60000.0
    scale, bias = torch.tensor([5e-9]), torch.tensor([5000.0])
    safe = safe_weight_scale(scale, x_scale, y_scale, y_offset, bias)

    def folded(weight_scale: torch.Tensor) -> float:
        """b_q - offset_y / s' of the kernel, in the worst sign."""
        step = x_scale * float(weight_scale.double())
        return abs(float(bias)) / step + abs(y_offset) * y_scale / step

    assert folded(scale) > 2**31 - 1 and folded(safe) < 2**30 * 1.001
    total = np.int64(np.round(folded(safe)))
    assert np.int64(np.int32(total)) == total
    assert folded(safe) > 0.99 * BIAS_LIMIT


def test_one_scale_for_the_tensor_serves_the_largest_bias() -> None:
    safe = safe_weight_scale(torch.tensor(2.0**-23), 1e-4, None, 0.0, torch.tensor([1.0, -70.0, 3.0]))
    assert safe.shape == () and float(safe) == pytest.approx(70.0 / (1e-4 * BIAS_LIMIT), rel=1e-6)
