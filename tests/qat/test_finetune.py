"""Finetuning: better than PTQ on data it never saw, deterministic, and resumed to the very same result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import hexaquant as hq
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import Model
from hexaquant.qat.schedule import rate_factor
from ir.onnx_text import run
from qat.rescaled import PER_TENSOR, rescaled_net, smooth_images

TRAIN, HELD_OUT = smooth_images(640, 50), smooth_images(256, 99)
SMALL = TRAIN[:80]


def quality(model: Model, reference: np.ndarray) -> tuple[float, float]:
    """(SQNR in dB, share of samples with the same top-1) on held-out data."""
    with torch.no_grad():
        got = model(torch.from_numpy(HELD_OUT)).numpy()
    return sqnr_db(reference, got), float((got.argmax(1) == reference.argmax(1)).mean())


def ptq(spread: float = 1.0, **options: object) -> Model:
    return hq.quantize(rescaled_net(spread), TRAIN[:64], scheme="w4a8", **options)


def state(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_rescaling_the_channels_leaves_the_float_network_alone() -> None:
    plain, rescaled = (run(rescaled_net(spread), {"x": HELD_OUT})[0] for spread in (0.0, 1.0))
    np.testing.assert_allclose(plain, rescaled, atol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "rate", "gain"), [(None, 3e-3, 2.0), (PER_TENSOR, 1e-3, 2.0)], ids=["per channel", "per tensor"]
)
def test_distillation_without_labels_beats_ptq_on_held_out_data(
    overrides: dict | None, rate: float, gain: float
) -> None:
    reference = run(rescaled_net(1.0), {"x": HELD_OUT})[0]
    model = ptq(overrides=overrides, recipe="plain")
    sqnr, agreement = quality(model, reference)
    done = hq.finetune(model, TRAIN, steps=100, ema=0.9, lr=rate, encoding_lr=rate)
    trained_sqnr, trained_agreement = quality(model, reference)
    assert done.steps == 100 and done.losses[-1] < done.losses[0]
    assert trained_sqnr > sqnr + gain
    assert trained_agreement > agreement + 0.03


def test_after_finetuning_the_artifact_is_the_trained_model(tmp_path: Path) -> None:
    model = ptq()
    hq.finetune(model, SMALL, steps=4, loss="kl")
    model.export(tmp_path / "out")
    stored = hq.load_quantized(tmp_path / "out").encodings()
    for name, encoding in model.encodings().items():
        assert torch.equal(stored[name].scale, encoding.scale) and torch.equal(stored[name].offset, encoding.offset)
    assert model.steps[-1]["step"] == "finetune" and model.steps[-1]["details"]["steps"] == 4


def test_a_task_loss_gets_outputs_and_labels() -> None:
    labels = run(rescaled_net(1.0), {"x": SMALL})[0].argmax(1)
    model = ptq()
    done = hq.finetune(model, {"x": SMALL, "labels": labels}, loss=functional.cross_entropy, epochs=4, batch_size=20)
    assert done.steps == 16
    assert np.mean(done.losses[-4:]) < np.mean(done.losses[:4])


def test_without_learned_encodings_the_ranges_stay_the_ptq_ones() -> None:
    model = ptq()
    before = model.encodings()
    hq.finetune(model, SMALL, steps=3, learn=())
    assert all(e.same_as(before[n]) for n, e in model.encodings().items())


class Stopped(Exception):
    """Stands for the death of the process."""


def stop_at(step: int) -> Events:
    def listener(event: Event) -> None:
        if event.kind == "progress" and event.done == step:
            raise Stopped

    return Events(listener)


class Shuffled:
    """Batches in an order drawn from torch's generator, as a shuffling DataLoader does."""

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in torch.randperm(len(SMALL)).split(20):
            yield SMALL[index.numpy()]


@pytest.mark.parametrize("stop", [3, 4, 7, 9])
def test_a_killed_run_resumes_to_the_same_result(tmp_path: Path, stop: int) -> None:
    options = {"steps": 10, "batch_size": 20, "ema": 0.9, "checkpoint_every": 2}
    whole = ptq()
    expected = hq.finetune(whole, Shuffled(), **options)
    file = tmp_path / "run" / "qat.safetensors"
    with pytest.raises(Stopped):
        hq.finetune(ptq(), Shuffled(), checkpoint=file, events=stop_at(stop), **options)
    model = ptq()
    done = hq.finetune(model, Shuffled(), checkpoint=file, **options)
    assert done.resumed_from == (stop - 1) // 2 * 2
    assert done.losses == expected.losses
    assert same(state(model), state(whole))
    again = ptq()
    assert hq.finetune(again, Shuffled(), checkpoint=file, **options).resumed_from == 10
    assert same(state(again), state(whole))


def test_the_users_random_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    hq.finetune(ptq(), Shuffled(), steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "qat.safetensors"
    hq.finetune(ptq(), SMALL, steps=2, checkpoint=file)
    with pytest.raises(InputError, match="another run"):
        hq.finetune(ptq(), SMALL, steps=3, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        hq.finetune(ptq(), SMALL, steps=2, checkpoint=file)


def test_a_run_that_diverges_says_so() -> None:
    with pytest.raises(InputError, match="lower lr"):
        hq.finetune(ptq(), SMALL, steps=3, loss=lambda outputs, labels: outputs.sum() * float("nan"))


def test_bad_settings_are_refused() -> None:
    model = ptq()
    for options, reason in (
        ({"steps": 0}, "at least one"),
        ({"ema": 2.0}, "decay"),
        ({"loss": "l7"}, "kl, mse|mse, kl"),
    ):
        with pytest.raises(InputError, match=reason):
            hq.finetune(model, SMALL, **options)
    model.reference = None
    with pytest.raises(InputError, match="reference"):
        hq.finetune(model, SMALL)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] < 0.1 and max(factors) == factors[10] == 1.0 and factors[-1] < 1e-3
    assert factors[55] == pytest.approx(0.5)


def test_a_mixed_plan_trains_and_is_exported_as_it_was_trained(tmp_path: Path) -> None:
    mixed = {"w1": {"bits": 8, "granularity": "tensor"}, "p": "w8a16", "y": "float16"}
    model = ptq(0.5, overrides=mixed)
    with torch.no_grad():
        before = model.encodings()
    done = hq.finetune(model, SMALL, steps=4)
    model.export(tmp_path / "out")
    stored = hq.load_quantized(tmp_path / "out").encodings()
    grids = {(e.grid.bits, e.grid.kind) for e in model.encodings().values()}
    assert {(4, "int"), (8, "int"), (16, "int"), (16, "float")} <= grids and done.losses[-1] < done.losses[0]
    for name, encoding in model.encodings().items():
        if not encoding.grid.is_float:
            assert torch.equal(stored[name].scale, encoding.scale), name
    assert not before["dr_as_uint16"].same_as(model.encodings()["dr_as_uint16"]), "its scale moves, or its offset"
