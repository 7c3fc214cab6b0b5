"""Sensitivities: the same figures as whole runs, from prefixes that are computed once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from analysis.nets import quantized_net, samples
from hexaquant.analysis.metrics import top_k
from hexaquant.analysis.sensitivity import Measurement, Mode, Task, combine, make_study
from hexaquant.sim.model import QuantizedModel

X = samples(6, seed=7)
BATCH = {"x": torch.from_numpy(X)}


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return quantized_net()


def measured(model: QuantizedModel, mode: Mode, labels: np.ndarray | None = None) -> dict:
    return Measurement(make_study(model, {}, "top1"), top_k(1)).run(Task(mode, 0, {"x": X}, labels))


@torch.no_grad()
def noise(model: QuantizedModel, *on: str) -> float:
    """Of a whole run with only the quantizers ``on``."""
    model.set_state("on")
    with model.float_mode():
        wanted = model(**BATCH)
    with model.only(*on):
        return float((model(**BATCH).double() - wanted.double()).square().sum())


@pytest.mark.parametrize("mode", ["on", "off"])
def test_every_quantizer_has_the_figure_of_a_whole_run(model: QuantizedModel, mode: Mode) -> None:
    found, study = measured(model, mode), make_study(model, {}, None)
    assert set(found["sites"]) == {site.name for site in study.sites}
    for site in study.sites:
        others = [name for name in model.quantizers if name not in site.tensors]
        expected = noise(model, *(site.tensors if mode == "on" else others))
        assert found["sites"][site.name]["noise"][0] == pytest.approx(expected, rel=1e-5), site.name


def test_a_prefix_is_computed_once(model: QuantizedModel) -> None:
    """However many variants there are, the first layers run for the walk and for the variants that begin there."""
    calls: Counter[str] = Counter()
    hooks = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: calls.update([name]))
        for name, module in model.quantizers.items()
    ]
    study = make_study(model, {}, None)
    measurement = Measurement(study, None)
    measurement.run(Task("on", 0, {"x": X}, None))
    calls.clear()
    measurement.run(Task("on", 0, {"x": X}, None))
    for hook in hooks:
        hook.remove()
    assert calls["x"] <= 5 < len(study.sites) < calls["y"]


def test_metric_and_signal_add_up_over_batches(model: QuantizedModel) -> None:
    study = make_study(model, {}, "top1")
    model.set_state("on")
    labels = model(**BATCH).detach().numpy().argmax(1)
    tasks = [Task("off", i, {"x": X[3 * i : 3 * i + 3]}, labels[3 * i : 3 * i + 3]) for i in range(2)]
    parts = [Measurement(study, top_k(1)).run(task) for task in tasks]
    whole = [measured(model, "off", labels)]
    assert combine(whole, "base").metric == 1.0
    for site in study.sites:
        split, joined = combine(parts, "sites", site.name), combine(whole, "sites", site.name)
        assert split.metric == joined.metric
        assert split.sqnr_db == pytest.approx(joined.sqnr_db, abs=2e-3)


def test_a_quantizer_that_changes_nothing_has_no_finite_figure(model: QuantizedModel) -> None:
    zeros = Measurement(make_study(model, {}, None), None).run(Task("on", 0, {"x": np.zeros_like(X)}, None))
    assert zeros["sites"]["x"] == zeros["base"]
    assert combine([zeros], "sites", "x").sqnr_db is None
