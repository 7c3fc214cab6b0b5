"""One cutter: what counts samples, what is one sample as a whole, and states that roll from sample to sample."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime as ort
import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.io.data import open_data
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import first_samples, input_specs, sample_count, take

RNG = np.random.default_rng(3)


def graph(inputs: str) -> Graph:
    return Graph(oir.from_onnx_text(f'<ir_version: 10, opset_import: ["": 21]> g ({inputs}) => (float[N] o) {{ }}'))


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "inputs, axes",
    [
        ("float[N,3] x, float[2,N,4] h", (0, 1)),
        ("float[N,3] x, float[2,1,4] h", (0, None)),
        ("float[N,3] x, float[1,4] mask", (0, None)),
        ("float[1,8] x, float[2,1,16] s", (0, None)),
        ("float[3,10,10] x", (None,)),
        ("float[5,1,10] x", (None,)),
        ("float[1,3,8,8] x, float[1,4] y", (0, 0)),
    ],
)
def test_an_axis_is_a_batch_only_where_the_graph_says_so(inputs: str, axes: tuple[int | None, ...]) -> None:
    assert tuple(spec.axis for spec in input_specs(graph(inputs))) == axes


def test_an_extra_leading_axis_is_the_sample_axis() -> None:
    x, s = random(6, 8), random(6, 2, 1, 16)
    for rows in (x, x[:, None]):
        batches = list(open_data({"x": rows, "s": s}, graph("float[1,8] x, float[2,1,16] s")).batches(4))
        assert len(batches) == 6
        for i, batch in enumerate(batches):
            assert np.array_equal(batch["x"], x[i : i + 1]) and np.array_equal(batch["s"], s[i])


def test_an_array_of_the_inputs_shape_is_one_sample_and_goes_with_all_of_the_others() -> None:
    s = random(2, 1, 16)
    batches = list(open_data({"x": random(3, 8), "s": s}, graph("float[1,8] x, float[2,1,16] s")))
    assert len(batches) == 3 and all(np.array_equal(b["s"], s) for b in batches)
    chw = random(3, 10, 10)
    dataset = open_data(chw, graph("float[3,10,10] x"))
    assert dataset.samples == 1 and np.array_equal(next(iter(dataset))["x"], chw)


def test_runs_one_after_the_other_along_the_first_axis() -> None:
    x = random(10, 1, 4)
    batches = list(open_data(x, graph("float[5,1,4] x")))
    assert [b["x"].shape for b in batches] == [(5, 1, 4)] * 2 and np.array_equal(batches[1]["x"], x[5:])


def test_the_batch_of_a_state_stands_where_its_symbol_stands() -> None:
    x, h = random(5, 3), random(2, 5, 4)
    dataset = open_data({"x": x, "h": h}, graph("float[N,3] x, float[2,N,4] h"))
    batches = list(dataset.batches(2))
    assert [b["h"].shape for b in batches] == [(2, 2, 4), (2, 2, 4), (2, 1, 4)]
    assert np.array_equal(np.concatenate([b["h"] for b in batches], 1), h)
    single = random(5, 2, 1, 4)
    moved = next(open_data({"x": x, "h": single}, graph("float[N,3] x, float[2,N,4] h")).batches(5))
    assert np.array_equal(moved["h"], single[:, :, 0].swapaxes(0, 1))


def test_masks_of_each_sample_keep_samples_apart() -> None:
    x, mask = random(3, 4), random(3, 1, 4)
    batches = list(open_data({"x": x, "mask": mask}, graph("float[N,4] x, float[1,4] mask")).batches(8))
    assert [sample_count(b, input_specs(graph("float[N,4] x, float[1,4] mask"))) for b in batches] == [1, 1, 1]
    assert np.array_equal(batches[2]["mask"], mask[2])


def test_holding_out_takes_whole_samples() -> None:
    x = random(10, 3, 4, 4)
    rest, held = open_data(x, graph("float[3,4,4] x")).split()
    assert np.array_equal(np.stack([b["x"] for b in held]), x[1::5])
    assert rest.samples == 8 and len(list(rest)) == 8


def test_labels_of_each_row_stay_with_a_fixed_batch() -> None:
    batches = list(open_data([(random(4, 3), np.arange(4))], graph("float[2,3] x")).labelled())
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3]]  # type: ignore[union-attr]


def test_wrong_shapes_say_both_forms() -> None:
    with pytest.raises(InputError, match=r"shape 7x2x16 but the model wants 2x1x16 \(one sample\) or Nx2x1x16"):
        list(open_data({"x": random(7, 8), "s": random(7, 2, 16)}, graph("float[1,8] x, float[2,1,16] s")))
    with pytest.raises(InputError, match="'s' has 5 samples, others have 7"):
        list(open_data({"x": random(7, 8), "s": random(5, 2, 1, 16)}, graph("float[1,8] x, float[2,1,16] s")))


def test_taking_samples_never_cuts_what_is_whole() -> None:
    specs = input_specs(graph("float[1,8] x, float[2,1,16] s"))
    batch = {"x": torch.ones(1, 8), "s": torch.ones(2, 1, 16)}
    assert take(batch, specs, slice(0, 1))["s"].shape == (2, 1, 16)
    assert [piece["s"].shape for piece in first_samples([batch] * 3, specs, 2, 8)] == [(2, 1, 16)] * 2


STREAM = """<ir_version: 8, opset_import: ["": 17]> g (float[N,3] x, float[N,4] h) => (float[N,2] y, float[N,4] hn) {
    a = MatMul (x, wx)
    b = MatMul (h, wh)
    c = Add (a, b)
    hn = Tanh (c)
    y = MatMul (hn, wy)
}"""


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(STREAM)
    for name, shape in (("wx", (3, 4)), ("wh", (4, 4)), ("wy", (4, 2))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(random(*shape), name))
    onnx.save(model, tmp_path / "stream.onnx")
    return tmp_path / "stream.onnx"


@pytest.mark.parametrize("first", [None, np.full((1, 4), 0.5, np.float32)])
def test_states_roll_as_onnxruntime_computes_them(stream: Path, first: np.ndarray | None) -> None:
    x = random(7, 3)
    data = {"x": x} if first is None else {"x": x, "h": first}
    dataset = open_data(data, load(stream, states={"h": "hn"}))
    session, h = ort.InferenceSession(str(stream)), np.zeros((1, 4), np.float32) if first is None else first
    for _ in range(2):
        state = h
        got = np.concatenate([b["h"] for b in dataset.batches(3)])
        for i in range(7):
            assert np.allclose(got[i], state[0], atol=1e-6)
            state = session.run(["hn"], {"x": x[i : i + 1], "h": state})[0]
    held = np.concatenate([b["h"] for b in dataset.split()[1]])
    assert np.array_equal(held, got[1::5])


def test_a_state_that_cannot_be_is_refused(stream: Path) -> None:
    with pytest.raises(InputError, match=r"state s=hn: .* has no input 's'; its inputs are x, h"):
        load(stream, states={"s": "hn"})
    with pytest.raises(InputError, match=r"state h=y: the input is FLOAT Nx4 but the output FLOAT Nx2"):
        load(stream, states={"h": "y"})
    with pytest.raises(InputError, match=r"lacks input 'h'; .*--state h=OUTPUT"):
        open_data({"x": random(2, 3)}, load(stream))
