"""What a weight's encoding costs, judged at the first layer that reads it."""

from __future__ import annotations

import pytest

from hexaquant.analysis.excess_noise import collect_weight_noise
from hexaquant.analysis.sensitivity import make_study
from ir.onnx_text import random
from sim.nets import net, quantized


def test_a_layer_with_several_outputs_is_judged_by_the_first() -> None:
    """LayerNormalization with its means and deviations (`debug` of timm's test_maxvit broke on such a tuple)."""
    text = "(float[N,4,6] x) => (float[N,4,6] y) { n, m, d = LayerNormalization (x, w, b) y = Relu (n) }"
    data = [{"x": random(2, 4, 6)}]
    model = quantized(net(text, w=random(6), b=random(6, seed=1)), data=data)
    floats = {name: p.detach().clone() for name, p in model.parameters_by_name().items()}
    found = collect_weight_noise(model, floats, make_study(model, floats, None).sites, data)
    assert found["w"].quantized.count == 8
    assert found["w"].quantized.residual() == pytest.approx(found["w"].nearest.residual())
