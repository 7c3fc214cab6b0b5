"""The figures of verify.json."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hexaquant.analysis.compare import Comparison
from hexaquant.analysis.metrics import top_k
from hexaquant.core.metrics import sqnr_db

RNG = np.random.default_rng(0)
FP32 = RNG.normal(size=(20, 10))
SIM = FP32 + RNG.normal(scale=0.01, size=(20, 10))
STEP = 0.05


def compared(target: np.ndarray, step: float | None = STEP, labels: np.ndarray | None = None) -> Comparison:
    result = Comparison({"y": step}, top_k(1))
    for i in range(len(FP32)):
        outputs = {"fp32": {"y": FP32[i]}, "sim": {"y": SIM[i]}, "target": {"y": target[i]}}
        result.add(outputs, None if labels is None else labels[i])
    return result


def test_identical_outputs_have_no_decibels_and_no_steps_between_them() -> None:
    (output,) = compared(SIM).outputs()
    assert output["sim_vs_target_sqnr_db"] is None and output["sim_vs_target_max_lsb"] == 0
    assert output["top1_agreement_sim_target"] == 1
    json.dumps(output, allow_nan=False)


def test_sqnr_is_over_all_samples_together() -> None:
    target = SIM + RNG.normal(scale=0.02, size=SIM.shape)
    (output,) = compared(target).outputs()
    for pair, (a, b) in {"fp32_vs_sim": (FP32, SIM), "sim_vs_target": (SIM, target)}.items():
        assert output[f"{pair}_sqnr_db"] == pytest.approx(sqnr_db(a, b), abs=1e-3)


def test_the_largest_difference_counts_in_steps() -> None:
    target = SIM.copy()
    target[3, 4] += 2 * STEP
    target[5, 1] -= STEP
    assert compared(target).outputs()[0]["sim_vs_target_max_lsb"] == pytest.approx(2, abs=1e-3)
    assert compared(target, None).outputs()[0]["sim_vs_target_max_lsb"] is None


def test_agreement_counts_equal_largest_values() -> None:
    target = SIM.copy()
    target[:5] = -target[:5]
    assert compared(target).outputs()[0]["top1_agreement_sim_target"] == 15 / 20


def test_agreement_is_unknown_for_outputs_that_are_no_classes() -> None:
    result = Comparison({"map": STEP}, None)
    image = RNG.normal(size=(3, 4, 4))
    result.add({backend: {"map": image} for backend in ("fp32", "sim", "target")})
    assert result.outputs()[0]["top1_agreement_sim_target"] is None
    assert result.scores() == {"fp32": None, "sim": None, "target": None}


def test_scores_and_paired_flips() -> None:
    labels = FP32.argmax(1)
    labels[0] = (labels[0] + 1) % 10
    target = FP32.copy()
    target[1:4] *= -1
    target[0, labels[0]] = 99.0
    result = compared(target, labels=labels)
    scores = result.scores()
    assert scores["fp32"] == 19 / 20 and scores["target"] == 17 / 20
    assert result.flips() == {"worse": 3, "better": 1}


def test_without_labels_nothing_is_scored() -> None:
    result = compared(SIM)
    assert result.scores() == {"fp32": None, "sim": None, "target": None}
    assert result.flips() == {"worse": 0, "better": 0} and result.samples == 20


def test_an_empty_output_does_not_divide_by_zero() -> None:
    result = Comparison({"y": STEP}, None)
    result.add({backend: {"y": np.zeros(0)} for backend in ("fp32", "sim", "target")})
    assert result.outputs()[0]["fp32_vs_sim_sqnr_db"] is None
