"""Rounding a whole model: outputs improve on held-out data, parameters lie on their grids, memory stays bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.graph import Graph
from hexaquant.ptq.bias_correction import correct_biases
from hexaquant.ptq.lockstep import CHUNK, Env, LiveStore, Machine
from hexaquant.ptq.rounding.apply import LayerReport, round_weights
from hexaquant.ptq.rounding.solve import Method
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import net, quantized

TEXT = """(float[N,3,12,12] x) => (float[N,10] y) {
    p = Conv <pads=[1,1,1,1]> (x, pw, pb)
    pr = Relu (p)
    d = Conv <pads=[1,1,1,1], group=16> (pr, dw, db)
    dr = Relu (d)
    l = Conv (dr, lw, lb)
    s = Add (l, pr)
    m = GlobalAveragePool (s)
    f = Flatten (m)
    y = Gemm <transB=1> (f, fw, fb)
}"""


def network() -> Graph:
    """Convolution, depthwise and pointwise with a residual, and a classifier."""
    weights = {"pw": random(16, 3, 3, 3, seed=1), "dw": random(16, 1, 3, 3, seed=2), "lw": random(16, 16, 1, 1, seed=3)}
    weights |= {"fw": random(10, 16, seed=7), "fb": random(10), "pb": random(16, seed=4) * 0.1}
    return net(TEXT, **weights, db=random(16, seed=5) * 0.1, lb=random(16, seed=6) * 0.1)


def images(count: int, seed: int) -> np.ndarray:
    """Smooth pictures: neighbouring pixels correlate, as in photos."""
    noise = random(count, 3, 14, 14, seed=seed)
    return np.ascontiguousarray(sum(noise[:, :, i : i + 12, j : j + 12] for i in range(3) for j in range(3)) / 3)


def data() -> list[dict[str, np.ndarray]]:
    return [{"x": images(12, seed)} for seed in range(4)]


HELD_OUT = images(64, seed=99)


def fresh(scheme: str = "w4a16", overrides: Any = None) -> QuantizedModel:
    return quantized(network(), scheme, overrides, data(), weight_observer="mse")


def sqnr(model: QuantizedModel) -> float:
    x = torch.from_numpy(HELD_OUT)
    reference = QuantizedModel(network(), model.plan)
    with torch.no_grad():
        return sqnr_db(reference(x).numpy(), model(x).numpy())


def rounded(model: QuantizedModel, method: str = "coordinate_descent") -> list[LayerReport]:
    return round_weights(model, data(), Method(method))[1]


@pytest.mark.parametrize("method", ["coordinate_descent", "gptq"])
def test_outputs_on_held_out_data_improve(method: str) -> None:
    corrected, model = fresh(), fresh()
    correct_biases(corrected, data())
    reports = rounded(model, method)
    assert sqnr(model) > sqnr(corrected) + 3
    assert [report.layer for report in reports] == ["layer 'p'", "layer 'd'", "layer 'l'", "layer 'y'"]
    assert all(report.error <= report.error_nearest for report in reports)
    assert all(quantizer.state == "on" for quantizer in model.quantizers.values())


GRIDS = {
    "channel": {},
    "tensor": {"bits": 8, "granularity": "tensor"},
    "block": {"granularity": "block", "block_size": 4},
    "lpbq": {"granularity": "lpbq", "block_size": 4},
}


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_is_rounded_and_kept(grid: str) -> None:
    overrides = {"lw": {"bits": 4, **GRIDS[grid]}}
    corrected, model = fresh(overrides=overrides), fresh(overrides=overrides)
    before = model.quantizers["lw"].encoding
    correct_biases(corrected, data())
    rounded(model)
    assert sqnr(model) > sqnr(corrected) + 1
    after = model.quantizers["lw"].encoding
    assert after.grid == before.grid and after.scale.shape == before.scale.shape
    for name in ("pw", "dw", "lw", "fw"):
        parameter = model.parameters_by_name()[name].detach()
        assert torch.equal(model.quantizers[name].encoding.fake_quantize(parameter), parameter)


def test_rounding_twice_gives_the_same() -> None:
    models = [fresh(), fresh()]
    for model in models:
        rounded(model)
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name]), name


def test_a_second_step_still_aims_at_the_float_network() -> None:
    model = fresh()
    rounded(model)
    once = sqnr(model)
    rounded(model)
    assert sqnr(model) > once - 1


def test_each_operator_runs_once_for_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[str, int]] = []
    original = Machine.floating

    def counted(self: Machine, node: Any, env: Env) -> None:
        runs.append((node.name, id(env)))
        original(self, node, env)

    monkeypatch.setattr(Machine, "floating", counted)
    model = fresh()
    rounded(model)
    chunks = sum(-(-len(batch["x"]) // CHUNK) for batch in data())
    names = [name for name, _ in runs]
    assert all(names.count(name) == chunks for name in set(names))


def test_what_does_not_fit_into_memory_waits_on_disk() -> None:
    models = [fresh(), fresh()]
    rounded(models[0])
    whole = LiveStore.__init__.__defaults__
    try:
        LiveStore.__init__.__defaults__ = (20_000,)
        rounded(models[1])
    finally:
        LiveStore.__init__.__defaults__ = whole
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name]), name


def test_a_float_network_has_nothing_to_round() -> None:
    assert rounded(quantized(network(), "fp16", data=data())) == []
