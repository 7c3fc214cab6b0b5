"""Networks of many kinds through the whole chain, to the emulator, as a user would send them.

The bounds in dB are 3 below what was measured (64 calibration samples, 4 others evaluated); the second one of each
pair says how closely the target does what the simulation promised.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import hexaquant as hq
from hexaquant.frontends import load
from networks import ARCHITECTURES, NETWORKS

CASES = {**NETWORKS, **ARCHITECTURES}

W8A8: dict[str, tuple[float, float]] = {
    "conv1d": (37, 44),
    "transposed": (34, 35),
    "grouped": (38, 39),
    "dilated": (35, 36),
    "resize": (31, 33),
    "concat_split": (37, 40),
    "prelu": (35, 38),
    "silu": (32, 31),
    "separable": (37, 41),
    "norms": (43, 40),
    "squeeze_excite": (37, 37),
    "two_by_two": (32, 41),
    "lstm": (30, 32),
    "attention": (29, 30),
    "norm_mlp": (33, 33),
    "embedding": (37, 33),
    "yolo": (48, 51),
    "unet": (41, 42),
    "dense_net": (28, 29),
    "mobilenet_v3": (44, 40),
    "vision_transformer": (25, 27),
    "conv_next": (31, 24),
    "temporal_conv_net": (28, 32),
    "gru_tagger": (27, 29),
    "keyword_spotter": (54, 52),
    "super_resolution": (34, 35),
}
"""Least SQNR in dB over the outputs: of the simulation against FP32, of the target against the simulation."""

OTHER_SCHEMES: list[tuple[str, str, float, float]] = [
    ("lstm", "w8a16", 52, 62),
    ("vision_transformer", "w8a16", 42, 67),
    ("super_resolution", "w8a16", 56, 60),
    ("unet", "w4a8", 27, 41),
    ("mobilenet_v3", "w16a16", 88, 68),
    ("gru_tagger", "fp16", 120, 37),
]


def run(name: str, scheme: str, folder: Path, simulation: float, target: float) -> None:
    """Deploy the network ``name`` and hold every output to the bounds (dB)."""
    case = CASES[name]
    args, kwargs = case.example()
    graph = load(case.build(), args, kwargs)
    report = hq.deploy(
        graph,
        case.batches(4, batch=16),
        folder,
        eval_data=case.batches(4, seed=900),
        scheme=scheme,
        workers=1,
        metric=None,
    )
    outputs = report["outputs"]
    assert [output["name"] for output in outputs] == [value.name for value in graph.outputs]
    assert len(outputs) == case.outputs
    assert min(output["fp32_vs_sim_sqnr_db"] for output in outputs) >= simulation
    assert min(output["sim_vs_target_sqnr_db"] for output in outputs) >= target


def test_every_network_has_bounds() -> None:
    assert W8A8.keys() == CASES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", W8A8)
def test_eight_bits(name: str, tmp_path: Path) -> None:
    run(name, "w8a8", tmp_path, *W8A8[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scheme", "simulation", "target"),
    OTHER_SCHEMES,
    ids=[f"{name}-{scheme}" for name, scheme, *_ in OTHER_SCHEMES],
)
def test_other_schemes(name: str, scheme: str, simulation: float, target: float, tmp_path: Path) -> None:
    run(name, scheme, tmp_path, simulation, target)
