"""Recurrent and rare operators, in files written by TensorFlow's schema, against the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frontends.tflite_networks import computed, imported, interpreted, normal, one_operator
from hexaquant.ir.input_spec import input_specs

N, T, IN, H = 1, 7, 5, 4


def weights(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [normal(*shape, seed=10 + i) / np.float32(2) for i, shape in enumerate(shapes)]


def lstm_inputs(peepholes: bool = False, coupled: bool = False) -> list[np.ndarray | None]:
    """Weights of one direction in TensorFlow Lite's order, without x and states."""
    found: list[np.ndarray | None] = [*weights(*[(H, IN)] * 4, *[(H, H)] * 4)]
    found += weights(*[(H,)] * 3) if peepholes else [None] * 3
    found += [normal(H, seed=30 + i) for i in range(4)]
    if coupled:
        for place in (0, 4, 8, 11):
            found[place] = None
    return found


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("kind", ["plain", "peepholes", "coupled"])
def test_sequence_lstm(tmp_path: Path, kind: str, time_major: bool) -> None:
    shape = (T, N, IN) if time_major else (N, T, IN)
    x = normal(*shape)
    inputs = [x, *lstm_inputs(kind == "peepholes", kind == "coupled"), None, None, "state", "state"]
    options = {"fusedActivationFunction": 4, "timeMajor": time_major}
    states = [(N, H), (N, H)]
    data = one_operator("UNIDIRECTIONAL_SEQUENCE_LSTM", options, inputs, [(*shape[:2], H)], states)
    got = computed(imported(tmp_path, data), [x])[0]
    assert np.abs(interpreted(data, [x])[0][0] - got).max() < 1e-5


@pytest.mark.parametrize("merge", [False, True])
def test_bidirectional_lstm(tmp_path: Path, merge: bool) -> None:
    x = normal(N, T, IN)
    both = [*lstm_inputs(), None, None, *lstm_inputs(), None, None]
    inputs = [x, *both, *["state"] * 4, *[None] * 9]
    options = {"fusedActivationFunction": 4, "timeMajor": False, "mergeOutputs": merge}
    outputs = [(N, T, 2 * H)] if merge else [(N, T, H)] * 2
    data = one_operator("BIDIRECTIONAL_SEQUENCE_LSTM", options, inputs, outputs, [(N, H)] * 4)
    got = computed(imported(tmp_path, data), [x])
    for wanted, found in zip(interpreted(data, [x])[0], got, strict=True):
        assert np.abs(wanted - found).max() < 1e-5


@pytest.mark.parametrize("activation", [1, 4])
def test_sequence_rnn(tmp_path: Path, activation: int) -> None:
    x = normal(N, T, IN)
    inputs = [x, *weights((H, IN), (H, H), (H,)), "state"]
    options = {"fusedActivationFunction": activation, "timeMajor": False}
    data = one_operator("UNIDIRECTIONAL_SEQUENCE_RNN", options, inputs, [(N, T, H)], [(N, H)])
    assert np.abs(interpreted(data, [x])[0][0] - computed(imported(tmp_path, data), [x])[0]).max() < 1e-5


def steps(folder: Path, data: bytes, count: int = 6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs of ``count`` runs of a streaming layer: the interpreter's and ours with its state carried on."""
    runs = [[normal(N, IN, seed=50 + i)] for i in range(count)]
    graph = imported(folder, data)
    (state,) = [spec for spec in input_specs(graph) if spec.state_of is not None]
    held = np.zeros([int(d) for d in graph.value(state.name).shape], np.float32)
    got = []
    for (x,) in runs:
        feeds = [held if value.name == state.name else x for value in graph.inputs]
        outputs = dict(zip([v.name for v in graph.outputs], computed(graph, feeds), strict=True))
        held = outputs.pop(state.state_of)
        got += outputs.values()
    return [outputs[0] for outputs in interpreted(data, *runs)], got


def test_a_single_rnn_step_keeps_its_state(tmp_path: Path) -> None:
    inputs = [normal(N, IN), *weights((H, IN), (H, H), (H,)), "state"]
    data = one_operator("RNN", {"fusedActivationFunction": 4}, inputs, [(N, H)], [(N, H)])
    wanted, got = steps(tmp_path, data)
    assert np.abs(np.stack(wanted) - np.stack(got)).max() < 1e-5


@pytest.mark.parametrize("rank", [1, 2])
def test_svdf_keeps_its_state(tmp_path: Path, rank: int) -> None:
    inputs = [normal(N, IN), *weights((4, IN), (4, 3), (4 // rank,)), "state"]
    data = one_operator("SVDF", {"rank": rank, "fusedActivationFunction": 1}, inputs, [(N, 4 // rank)], [(N, 12)])
    wanted, got = steps(tmp_path, data)
    assert np.abs(np.stack(wanted) - np.stack(got)).max() < 1e-5


RARE: dict[str, tuple[dict[str, Any], list[Any], tuple[int, ...]]] = {
    "L2_POOL_2D": (
        {"padding": 0, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2},
        [normal(1, 6, 6, 3)],
        (1, 3, 3, 3),
    ),
    "SQUEEZE": ({"squeezeDims": [1, -1]}, [normal(1, 1, 6, 1)], (1, 6)),
    "RELU_N1_TO_1": ({}, [normal(1, 30)], (1, 30)),
    "RELU_0_TO_1": ({}, [normal(1, 30)], (1, 30)),
    "PRELU": ({}, [normal(1, 4, 5, 3), normal(1, 1, 3, seed=1)], (1, 4, 5, 3)),
    "HARD_SWISH": ({}, [4 * normal(1, 30)], (1, 30)),
    "ZEROS_LIKE": ({}, [normal(1, 30)], (1, 30)),
    "FULLY_CONNECTED": ({"fusedActivationFunction": 3}, [normal(2, 3, 4), normal(5, 12, seed=1), None], (2, 5)),
}


@pytest.mark.parametrize("kind", RARE)
def test_rare_operators(tmp_path: Path, kind: str) -> None:
    options, inputs, shape = RARE[kind]
    data = one_operator(kind, options, inputs, [shape])
    wanted = interpreted(data, inputs[:1])[0][0]
    got = computed(imported(tmp_path, data), inputs[:1])[0]
    assert wanted.shape == got.shape and np.abs(wanted - got).max() < 1e-5
