"""The debugger: it names the tensor whose encoding was corrupted and the kernel that differs, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hexaquant as hq
from analysis.nets import exported, quantized_net, samples
from hexaquant.analysis.debugger import compare_tensors, suspects
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.ptq.recipe import parse_recipe
from hexaquant.sim.walk import Walk

DATA = {"x": samples(4)}
INPUTS = [{"x": torch.from_numpy(DATA["x"][i : i + 1])} for i in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("debug") / "out")


def corrupted(folder: Path, path: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """An encodings file in which the entry of tensor ``name`` is changed."""
    document = json.loads((folder / "model.encodings").read_text())
    entries = document["activation_encodings"] + document["param_encodings"]
    change(next(entry for entry in entries if entry["name"] == name))
    path.write_text(json.dumps(document))
    return path


def times(factor: float) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry.update(scale=[value * factor for value in entry["scale"]])


def shift(entry: dict[str, Any]) -> None:
    entry["offset"] = [value + (64 if value < -128 else -64) for value in entry["offset"]]


@pytest.mark.parametrize(
    ("tensor", "change", "output", "words"),
    [
        ("rb", times(4), "rb", "too wide"),
        ("c", times(0.25), "c", "too narrow"),
        ("x", shift, "x", "clipped"),
        ("w4", times(4), "rd", "too wide"),
        ("w5", times(0.25), "re", "too narrow"),
    ],
)
def test_a_corrupted_encoding_is_named(
    folder: Path, tmp_path: Path, tensor: str, change: Callable[[dict[str, Any]], None], output: str, words: str
) -> None:
    file = corrupted(folder, tmp_path / "bad.encodings", tensor, change)
    report = hq.debug(folder, DATA, encodings=file, target=False)
    assert report.findings[0].tensor == tensor and words in report.findings[0].text
    assert report.first_simulation_leaves_fp32 == output
    assert report.encodings == str(file)


def test_nothing_stands_out_where_all_is_well(folder: Path) -> None:
    for mode in ("cumulative", "isolated"):
        report = hq.debug(folder, DATA, mode=mode, target=False)  # type: ignore[arg-type]
        assert not report.findings and report.first_simulation_leaves_fp32 is None
        document = json.loads((folder / "debug.json").read_text())
        assert [entry["name"] for entry in document["tensors"]] == ["x", "ra", "rb", "c", "s", "rd", "re", "p", "y"]
        assert all(entry["sqnr_fp32_sim_db"] > 20 for entry in document["tensors"])


class Block(nn.Module):
    """What its last layer adds to the input also makes up for what the input has lost."""

    def __init__(self) -> None:
        super().__init__()
        up, wide, down = nn.Conv2d(12, 48, 1), nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.Conv2d(48, 12, 1)
        self.layers = nn.Sequential(up, nn.ReLU6(), wide, nn.ReLU6(), down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.layers(x)
        return found


def test_integers_that_a_rounding_step_chose_are_not_blamed(tmp_path: Path) -> None:
    """They make more noise in their layer than the nearest ones (for the sake of the output), with a good encoding."""
    torch.manual_seed(0)
    tail = [nn.Conv2d(12, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), Block(), Block(), *tail).eval()
    graph = hq.load(net, example_inputs=(torch.zeros(2, 3, 16, 16),))
    name = graph.inputs[0].name or ""
    data = {name: np.random.default_rng(0).standard_normal((64, 3, 16, 16)).astype(np.float32)}
    recipe = parse_recipe({"steps": ["equalize_layers", "calibrate", "round_weights"]})
    hq.quantize(graph, data, scheme="w4a8", recipe=recipe).export(tmp_path)
    report = hq.debug(tmp_path, {name: data[name][:4]}, target=False)
    assert not [found for found in report.findings if found.tensor.endswith("weight")]


def test_alone_each_layer_is_better_than_in_a_whole_run(folder: Path) -> None:
    figures = {}
    for mode in ("cumulative", "isolated"):
        report = hq.debug(folder, DATA, mode=mode, target=False)  # type: ignore[arg-type]
        figures[mode] = {errors.name: errors.fp32_sim.db for _, errors in report.tensors}
    assert figures["isolated"]["x"] == figures["cumulative"]["x"]
    assert figures["isolated"]["re"] > figures["cumulative"]["re"] + 3


def test_an_encoding_that_data_movement_may_not_change_is_named(folder: Path, tmp_path: Path) -> None:
    file = corrupted(folder, tmp_path / "bad.encodings", "f", times(2))
    report = hq.debug(folder, DATA, encodings=file, target=False)
    assert report.findings[0].tensor == "f" and "only moves data" in report.findings[0].fix
    assert report.first_simulation_leaves_fp32 == "p"


def test_another_width_than_planned_is_refused(folder: Path, tmp_path: Path) -> None:
    file = corrupted(folder, tmp_path / "bad.encodings", "rb", lambda entry: entry.update(bw=16))
    with pytest.raises(EncodingError, match="'rb'"):
        hq.debug(folder, DATA, encodings=file, target=False)
    with pytest.raises(InputError, match="upside"):
        hq.debug(folder, DATA, mode="upside")  # type: ignore[arg-type]


def test_only_the_layer_whose_kernel_differs_has_own_errors() -> None:
    """The target's tensors are the simulation's, but layer c adds three steps, which all that follows inherits."""
    model = quantized_net()
    walk = Walk(model.network, {}, on=True)
    step = float(model.quantizers["c"].encoding.scale)
    shown = []
    with torch.no_grad():
        for sample in INPUTS:
            plain = walk.taps_of(sample)
            shown.append({n: v.numpy() for n, v in walk.taps_of(sample, {"c": plain["c"] + 3 * step}).items()})
            shown[-1]["c"] = (plain["c"] + 3 * step).numpy()
    errors = {e.name: e for e in compare_tensors(model, {}, INPUTS, shown, "cumulative")}
    assert errors["c"].own_rms == pytest.approx(3, rel=1e-4)
    assert all(e.own_rms < 1e-3 for name, e in errors.items() if name != "c")
    assert errors["y"].sim_target.db < 60 and errors["ra"].sim_target.db == np.inf
    assert suspects({name: e.own_noise for name, e in errors.items()}, 4.0) == ["c"]
    assert errors["c"].own_in == []


def test_the_channels_that_hold_an_error_are_named() -> None:
    model = quantized_net()
    walk = Walk(model.network, {}, on=True)
    with torch.no_grad():
        shown = [{n: v.numpy().copy() for n, v in walk.taps_of(sample).items()} for sample in INPUTS]
    for arrays in shown:
        arrays["rd"][:, 5] += 1.0
    errors = {e.name: e for e in compare_tensors(model, {}, INPUTS, shown, "isolated")}
    assert errors["rd"].own_in == [5]
