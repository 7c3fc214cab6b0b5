"""Scores on held-out data: the best state is the result, and the run ends when nothing improves any more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import hexaquant as hq
from hexaquant.api.finetune import make_score
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.io.data import open_data
from hexaquant.sim.model import QuantizedModel
from qat.normed import images, ptq

TRAIN, HELD_OUT = images(64, 1), images(64, 2)


def labels(x: Tensor) -> Tensor:
    with torch.no_grad(), ptq().float_mode() as model:
        return model(x).argmax(1)


def test_the_best_state_is_kept_and_patience_ends_the_run() -> None:
    scores = iter([1.0, 5.0, 4.0, 3.0, 2.0])
    states: list[Tensor] = []

    def metric(outputs: Tensor, target: Tensor | None) -> float:
        states.append(outputs.detach().clone())
        return next(scores)

    model = ptq("w4a8")
    done = hq.finetune(
        model, TRAIN, validation=HELD_OUT, metric=metric, validate_every=2, patience=2, steps=50, batch_size=64, lr=1e-2
    )
    assert done.stopped_early and done.steps == 8 and done.best_step == 4
    assert [score for _, score in done.scores] == [1.0, 5.0, 4.0, 3.0]
    with torch.no_grad():
        result = torch.cat([model(part) for part in HELD_OUT.split(64)])
    torch.testing.assert_close(result, states[1])
    assert float((states[3] - states[1]).abs().max()) > 0


@pytest.mark.parametrize(
    ("metric", "loss"), [("sqnr", "mse"), ("top1", functional.cross_entropy), ("loss", functional.cross_entropy)]
)
def test_named_metrics_improve_where_training_works(metric: str, loss: object) -> None:
    data = {"x": TRAIN.numpy(), "labels": labels(TRAIN).numpy()}
    held_out = {"x": HELD_OUT.numpy(), "labels": labels(HELD_OUT).numpy()}
    model = ptq("w4a8")
    options = {"validation": held_out, "metric": metric, "validate_every": 5, "steps": 20, "batch_size": 32}
    done = hq.finetune(model, data, loss=loss, lr=3e-3, **options)
    scores = [score for _, score in done.scores]
    assert len(scores) == 4 and max(scores) >= scores[0]
    assert dict(done.scores)[done.best_step] == max(scores)


def top1(model: QuantizedModel, given: np.ndarray) -> float:
    data = open_data({"x": HELD_OUT.numpy(), "labels": given}, model.source_graph)
    return make_score("top1", data, 32, criterion=lambda *_: 0.0, teacher=None)(model)


def test_top1_takes_class_numbers_in_a_column_and_one_hot_labels() -> None:
    numbers = labels(HELD_OUT).numpy()
    numbers[::2] = (numbers[::2] + 1) % 5
    forms = {"numbers": numbers, "column": numbers[:, None], "one-hot": np.eye(5)[numbers]}
    model, scores = ptq("w4a8"), {}
    for name, form in forms.items():
        scores[name] = top1(model, form)
    assert 0 < scores["numbers"] < 1 and len(set(scores.values())) == 1
    with pytest.raises(InputError, match="a label has shape"):
        top1(model, np.ones((len(numbers), 2)))


def test_live_figures_and_tensorboard_have_loss_rate_accuracy_and_score(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[Event] = []
    data = {"x": TRAIN.numpy(), "labels": labels(TRAIN).numpy()}
    options = {"validation": HELD_OUT, "metric": "sqnr", "validate_every": 2, "steps": 4, "batch_size": 32}
    hq.finetune(ptq(), data, loss=functional.cross_entropy, log_dir=tmp_path, events=Events(seen.append), **options)
    figures = [event.data for event in seen if event.kind == "progress"]
    assert all({"loss", "lr", "accuracy"} <= set(step) for step in figures)
    assert ["sqnr" in step for step in figures] == [False, True, False, True]
    logs = EventAccumulator(str(tmp_path)).Reload()
    assert {f"finetune/{name}" for name in ("loss", "lr", "accuracy", "sqnr")} <= set(logs.Tags()["scalars"])
    logged = [point.value for point in logs.Scalars("finetune/loss")]
    assert logged == pytest.approx([step["loss"] for step in figures])


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(InputError, match="validation=data"):
        hq.finetune(ptq(), TRAIN, patience=3)
    with pytest.raises(InputError, match="sqnr, top1, loss"):
        hq.finetune(ptq(), TRAIN, validation=HELD_OUT, metric="f7")
    with pytest.raises(InputError, match="labelled"):
        hq.finetune(ptq(), TRAIN, validation=HELD_OUT, metric="top1", steps=1)
