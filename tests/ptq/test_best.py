"""Recipe best: everything that helps, nothing that harms, and it says which was which."""

from __future__ import annotations

import numpy as np
import torch

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.executor.build import build_module
from hexaquant.ptq.gate import IfBetter
from hexaquant.ptq.recipe import RECIPES
from hexaquant.sim.model import QuantizedModel
from qat.rescaled import rescaled_net, smooth_images


def outputs(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)).numpy())


def test_best_beats_fast_at_four_bits_on_new_data_and_reports_each_verdict() -> None:
    graph, data, x = rescaled_net(1.5), {"x": smooth_images(40, 1)}, smooth_images(64, 9)
    wanted = outputs(build_module(graph), x)
    models: dict[str, QuantizedModel] = {
        name: hq.quantize(graph, data, scheme="w4a8", recipe=name) for name in ("fast", "best")
    }
    errors = {name: sqnr_db(wanted, outputs(model, x)) for name, model in models.items()}
    assert errors["best"] > errors["fast"] + 3
    steps = models["best"].steps  # type: ignore[attr-defined]
    assert len(steps) == len(RECIPES["best"].steps)
    for step, entry in zip(steps, RECIPES["best"].steps):
        held = step["details"].get("held_out")
        assert (held is not None) == isinstance(entry, IfBetter)
        if held is not None and "sqnr_after" in held:
            assert (held["verdict"] == "kept") == (held["sqnr_after"] > held["sqnr_before"])
    assert {step["details"]["held_out"]["verdict"] for step in steps if "held_out" in step["details"]} == {
        "kept",
        "dropped",
    }
