"""The walk shows each layer as many samples as it asks for, on what the layers before it give by then."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.ptq.lockstep import CHUNK
from hexaquant.ptq.rounding.apply import FIRST, HELD_OUT, round_weights
from hexaquant.ptq.rounding.solve import Method
from hexaquant.ptq.rounding.walk import walk
from hexaquant.sim.layers import Layer, find_layers
from hexaquant.sim.model import QuantizedModel
from ptq.rounding.test_apply import fresh, images


class Recorder:
    """Asks for ``counts`` samples layer by layer, and changes each bias once its layer was seen."""

    def __init__(self, model: QuantizedModel, counts: list[int]) -> None:
        self.parameters, self.counts = model.parameters_by_name(), list(counts)
        self.seen: list[Tensor] = []
        self.announced: set[int] = set()
        self.found: list[tuple[int, set[int], Tensor]] = []

    def wanted(self, layer: Layer, y: Tensor) -> int:
        return self.counts.pop(0)

    def observe(self, layer: Layer, x: Tensor, y: Tensor, samples: int) -> None:
        self.seen.append(torch.cat([x.flatten(1), y.flatten(1)], 1))
        self.announced.add(samples)

    def finish(self, layer: Layer) -> None:
        everything = torch.cat(self.seen)
        self.found.append((len(everything), self.announced, everything))
        self.seen, self.announced = [], set()
        self.parameters[layer.bias or ""].add_(0.1)


def recorded(counts: list[int], first: int = CHUNK) -> tuple[int, Recorder]:
    model = fresh()
    recorder, batches = Recorder(model, counts), [{"x": images(12, seed)} for seed in range(4)]
    used = walk(model, batches, find_layers(model), recorder, samples=40, first=first, title="walk")
    return used, recorder


def test_samples_join_where_a_layer_asks_for_more() -> None:
    used, recorder = recorded([1, CHUNK, CHUNK + 1, 1000])
    assert used == 40
    assert [count for count, _, _ in recorder.found] == [8, 8, 12, 40]
    assert all(announced == {count} for count, announced, _ in recorder.found)


def test_samples_that_join_late_find_what_the_others_find() -> None:
    (_, late), (_, early) = recorded([1, 1, 1, 1000]), recorded([1, 1, 1, 1], first=40)
    torch.testing.assert_close(late.found[-1][2], early.found[-1][2])


def test_a_classifier_behind_a_pooling_sees_more_images_than_convolutions() -> None:
    model = fresh()
    batches = [{"x": images(40, seed)} for seed in range(5)]
    used, reports = round_weights(model, batches, Method(), columns=144 * 4)
    assert used == 200
    columns = {report.layer: report.columns for report in reports}
    fitted = FIRST - FIRST // HELD_OUT
    assert columns["layer 'p'"] == fitted * (144 * 4 // fitted + 1)
    assert columns["layer 'y'"] == 200 - 200 // HELD_OUT


def test_no_samples_are_refused() -> None:
    model = fresh()
    with pytest.raises(InputError, match="calibration data is empty"):
        walk(model, [], find_layers(model), Recorder(model, []), samples=8, first=8, title="walk")
