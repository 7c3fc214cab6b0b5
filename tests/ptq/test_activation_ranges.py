"""Ranges chosen by what the readers make of them: outputs get better though the tensor itself may get worse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.graph import Graph
from hexaquant.ptq.choose_ranges import RangeReport, choose_ranges, from_observers, scaled
from hexaquant.ptq.steps.model_steps import ChooseRanges, RefineRanges
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import net, quantized


def outliers(scale: float) -> Graph:
    """Of the tensor "c" the reader multiplies the channel that holds the outliers by ``scale``."""
    w2 = random(4, 6, 1, 1, seed=2)
    w2[:, 0] *= scale
    text = "(float[N,3,8,8] x) => (float[N,4,8,8] y) { c = Conv (x, w, b)\n y = Conv (c, w2, b2) }"
    w = random(6, 3, 1, 1)
    w[0] *= 100
    return net(text, w=w, b=random(6, seed=1), w2=w2, b2=random(4))


def data(seed: int = 0) -> list[dict[str, np.ndarray]]:
    return [{"x": random(4, 3, 8, 8, seed=10 * seed + i)} for i in range(4)]


def chosen(model: QuantizedModel) -> list[RangeReport]:
    names = ("min_max", "mse", "percentile", "sqnr")
    return choose_ranges(model, data(), from_observers(model, data(), names, Events()), samples=16)[1]


def sqnr(model: QuantizedModel, graph: Graph) -> float:
    x = torch.from_numpy(data(seed=5)[0]["x"])
    with torch.no_grad():
        with model.float_mode():
            reference = model(x)
        return sqnr_db(reference.numpy(), model(x).numpy())


def test_outliers_that_no_reader_looks_at_are_clipped() -> None:
    graph = outliers(1e-4)
    model = quantized(graph, data=data())
    wide, before = float(model.quantizers["c"].encoding.max), sqnr(model, graph)
    model_ranges = scaled(model, (0.02, 0.1, 0.5))
    _, reports = choose_ranges(model, data(), model_ranges, samples=16)
    assert "c" in [report.tensor for report in reports]
    assert float(model.quantizers["c"].encoding.max) < 0.2 * wide
    assert sqnr(model, graph) > before + 6
    assert all(report.error < report.error_before for report in reports)


def test_outliers_that_matter_are_kept() -> None:
    graph = outliers(1.0)
    model = quantized(graph, data=data())
    before = model.quantizers["c"].encoding
    choose_ranges(model, data(), {"c": scaled(model, (0.02, 0.1, 0.5))["c"]}, samples=16)
    assert model.quantizers["c"].encoding.same_as(before)


def test_the_best_observer_of_each_tensor_is_taken() -> None:
    graph = outliers(1e-4)
    model = quantized(graph, data=data(), observer="moving_average")
    before = sqnr(model, graph)
    chosen(model)
    assert sqnr(model, graph) >= before - 0.1
    assert all(quantizer.state == "on" for quantizer in model.quantizers.values())


def test_only_ranges_change() -> None:
    model = quantized(outliers(1e-4), data=data())
    before = {name: p.detach().clone() for name, p in model.parameters_by_name().items()}
    RefineRanges((0.1, 0.5)).apply(model, data, Events())
    assert all(torch.equal(p, before[name]) for name, p in model.parameters_by_name().items())


def test_ranges_of_16_bits_keep_their_headroom() -> None:
    model = quantized(outliers(1e-4), "w8a16", data=data())
    assert RefineRanges().apply(model, data, Events()).details == {"tensors": 0, "layers": []}


def test_unknown_observers_are_named() -> None:
    with pytest.raises(InputError, match="unknown observer 'median'"):
        ChooseRanges(("median",)).apply(quantized(outliers(1.0), data=data()), data, Events())
