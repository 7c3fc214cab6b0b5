"""Recurrent layers become basic operators that compute the same, and what cannot be unrolled is refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from hexaquant.core.errors import InputError, TargetError
from hexaquant.frontends import load
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.recurrent.rule import unroll_recurrent
from hexaquant.htp.soc import find_target
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 6
V68 = find_target("sm8350")
"""Has no float16, so planning unrolls."""


def evaluate(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    model = oir.to_proto(graph.model).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feeds)]


class Torch(nn.Module):
    """All outputs of a recurrent module of PyTorch."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> Any:
        y, state = self.layer(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "batch_first": True},
        {"bidirectional": True},
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
    ],
    ids=["plain", "two layers", "bidirectional", "two bidirectional layers"],
)
@pytest.mark.parametrize("in_float", [False, True])
def test_layers_exported_from_pytorch_compute_the_same_for_another_batch(
    kind: Any, options: dict[str, Any], in_float: bool
) -> None:
    torch.manual_seed(0)
    module = Torch(kind(INPUTS, HIDDEN, **options)).eval()
    batch_axis = 0 if options.get("batch_first") else 1
    shape = [STEPS, STEPS]
    shape[batch_axis] = BATCH
    x = torch.randn(*shape, INPUTS)
    graph = load(
        module, (x,), shapes={"x": [*("batch" if i == batch_axis else d for i, d in enumerate(shape)), INPUTS]}
    )
    unroll_recurrent(graph, in_float)
    assert not {node.op_type for node in graph.nodes} & set(GATES)
    other = torch.randn(*(BATCH + 2 if i == batch_axis else d for i, d in enumerate(shape)), INPUTS)
    with torch.no_grad():
        expected = module(other)
    for got, want in zip(evaluate(graph, {"x": other.numpy()}), expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), atol=1e-5)


def recurrent(kind: str, direction: str = "forward", *, states: str = "", **options: Any) -> Graph:
    """A model of one recurrent node. ``states``: "", "inputs" or "constants"; ``options``: attributes, and
    ``steps``, ``peepholes``, ``sequence_lens``."""
    rng = np.random.default_rng(1)
    count = 2 if direction == "bidirectional" else 1
    batch_first, steps = options.get("layout", 0), options.pop("steps", STEPS)
    rows = GATES[kind] * HIDDEN
    arrays = {
        "w": rng.normal(size=(count, rows, INPUTS)),
        "r": rng.normal(size=(count, rows, HIDDEN)),
        "b": rng.normal(size=(count, 2 * rows)),
    }
    order, batch = (
        (lambda d: [d[1], d[0], *d[2:]]) if batch_first else list,
        "batch" if states != "constants" else BATCH,
    )
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, order([steps, batch, INPUTS]))]
    names = ["x", "w", "r", "b", ""]
    if options.pop("sequence_lens", False):
        names[4] = "lengths"
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [batch]))
    for name in ["h0", "c0"][: (2 if kind == "LSTM" else 1)] if states else []:
        names.append(name)
        if states == "inputs":
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, order([count, batch, HIDDEN])))
        else:
            arrays[name] = rng.normal(size=order([count, BATCH, HIDDEN]))
    if options.pop("peepholes", False):
        names += [""] * (7 - len(names)) + ["p"]
        arrays["p"] = rng.normal(size=(count, 3 * HIDDEN))
    results = ["y", "y_h", "y_c"][: (3 if kind == "LSTM" else 2)]
    node = helper.make_node(kind, names, results, name="layer", hidden_size=HIDDEN, direction=direction, **options)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    initializers = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
    proto = helper.make_graph([node], "recurrent", inputs, outputs, initializers)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return normalize(Graph(oir.from_proto(model)))


def feeds_for(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = {v.name: [d if isinstance(d, int) else BATCH for d in v.shape or ()] for v in graph.inputs}
    return {name or "": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("in_float", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("states", ["", "inputs", "constants"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_every_direction_and_initial_state_computes_the_same(
    kind: str, states: str, direction: str, in_float: bool
) -> None:
    graph = recurrent(kind, direction, states=states)
    feeds = feeds_for(graph)
    expected = evaluate(graph, feeds)
    assert unroll_recurrent(graph, in_float) == 1
    for got, want in zip(evaluate(graph, feeds), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("in_float", [False, True])
@pytest.mark.parametrize("states", ["", "inputs"])
def test_gru_may_reset_before_or_after_the_linear_layer(states: str, in_float: bool) -> None:
    graphs = [recurrent("GRU", "bidirectional", states=states, linear_before_reset=n) for n in (0, 1)]
    feeds = feeds_for(graphs[0])
    expected = [evaluate(graph, feeds) for graph in graphs]
    assert np.abs(expected[0][0] - expected[1][0]).max() > 0.01, "the variants differ"
    for graph, results in zip(graphs, expected, strict=True):
        unroll_recurrent(graph, in_float)
        for got, want in zip(evaluate(graph, feeds), results, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_batch_first_layout_gives_the_transposed_results(kind: str) -> None:
    """onnxruntime does not execute layout 1, so the reference is the same layer with layout 0."""
    plain, batch_first = (recurrent(kind, "bidirectional", states="inputs", layout=n) for n in (0, 1))
    feeds = feeds_for(plain)
    expected = evaluate(plain, feeds)
    unroll_recurrent(batch_first, in_float=True)
    results = evaluate(batch_first, {name: array.swapaxes(0, 1) for name, array in feeds.items()})
    np.testing.assert_allclose(results[0], expected[0].transpose(2, 0, 1, 3), atol=1e-5)
    for got, want in zip(results[1:], expected[1:], strict=True):
        np.testing.assert_allclose(got, want.swapaxes(0, 1), atol=1e-5)


def test_the_input_projection_of_all_steps_is_one_gemm() -> None:
    graph = recurrent("LSTM")
    unroll_recurrent(graph, in_float=True)
    products = [node for node in graph.nodes if node.op_type == "Gemm"]
    assert len(products) == 1 + (STEPS - 1), "one for the inputs, one a step for the state but the first, which is zero"
    assert len({node.inputs[1].name for node in products[1:] if node.inputs[1]}) == 1, "the steps share their weight"


def test_names_say_layer_direction_and_step() -> None:
    graph = recurrent("GRU", "bidirectional")
    prepare_for_target(graph, V68)
    names = {value.name for value in graph.values()}
    assert {"layer_t0_hidden", "layer_reverse_t4_hidden", "layer.weight_ih", "layer_reverse.weight_hn"} <= names
    assert [value.name for value in graph.outputs] == ["y", "y_h"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 1025}, InputError, "1025 steps is too long"),
        ({"steps": "time"}, InputError, r"dynamic \('time'\); fix it with --shape"),
        ({"clip": 3.0}, TargetError, "with a clip"),
        ({"peepholes": True}, TargetError, "with peepholes"),
        ({"input_forget": 1}, TargetError, "coupled gates"),
        ({"activations": ["Softsign", "Tanh", "Tanh"]}, TargetError, "activations"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.1]}, TargetError, "constants of its"),
    ],
)
def test_what_cannot_be_unrolled_is_refused_in_one_sentence(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        prepare_for_target(recurrent("LSTM", **options))
    assert "'layer'" in str(caught.value)


def test_without_float16_planning_unrolls_up_to_128_steps() -> None:
    graph = recurrent("LSTM", steps=128)
    assert prepare_for_target(graph, V68)["form_recurrent"] == 1
    with pytest.raises(InputError, match="129 steps is too long"):
        prepare_for_target(recurrent("LSTM", steps=129), V68)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_with_float16_the_operator_stays_one(kind: str) -> None:
    graph = recurrent(kind, steps=512)
    assert prepare_for_target(graph)["form_recurrent"] == 0
    assert kind in [node.op_type for node in graph.nodes]


@pytest.mark.parametrize("in_float", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_beyond_its_length_a_sequence_keeps_its_state_and_gives_zeros(
    kind: str, direction: str, in_float: bool
) -> None:
    graph = recurrent(kind, direction, states="inputs", sequence_lens=True)
    feeds = feeds_for(graph) | {"lengths": np.array([STEPS, 1, 3], np.int32)}
    expected = evaluate(graph, feeds)
    unroll_recurrent(graph, in_float)
    for got, want in zip(evaluate(graph, feeds), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("in_float", [False, True])
@pytest.mark.parametrize(
    ("kind", "functions"),
    [("LSTM", ["HardSigmoid", "Relu", "Tanh"]), ("GRU", ["HardSigmoid", "Relu"]), ("RNN", ["Relu"])],
)
def test_gates_may_have_other_functions(kind: str, functions: list[str], in_float: bool) -> None:
    graph = recurrent(kind, states="inputs", activations=functions)
    feeds = feeds_for(graph)
    expected = evaluate(graph, feeds)
    unroll_recurrent(graph, in_float)
    for got, want in zip(evaluate(graph, feeds), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * max(1.0, float(np.abs(want).max())))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_in_float16_no_tanh_reads_a_sum(kind: str) -> None:
    """The target joins Add and Tanh of a row to one kernel that errs by 1 %."""
    graph = recurrent(kind, "bidirectional", states="inputs")
    unroll_recurrent(graph, in_float=True)
    readers = [node for node in graph.nodes if node.op_type == "Tanh" and node.inputs[0] is not None]
    assert readers
    assert not [node.name for node in readers if getattr(node.inputs[0].producer(), "op_type", "") == "Add"]  # type: ignore[union-attr]
