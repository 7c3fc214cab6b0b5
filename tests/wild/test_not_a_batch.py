"""Networks whose inputs have no batch axis, through every step: a sample is never cut, and accuracy is that of plain.

Variants of networks that others reported: recurrent states of 2x1xN beside a frame, context tokens, a picture without a
batch, a time-major sequence. The right values are onnxruntime's without optimisations.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from hexaquant.api.analyze import analyze
from hexaquant.api.debug import debug
from hexaquant.api.deploy import deploy
from hexaquant.api.qat import finetune_folder
from hexaquant.frontends import load


def random(*shape: int) -> np.ndarray:
    """Weights and data without tails, so that few samples calibrate; of each shape always the same."""
    return np.random.default_rng([7, *shape]).uniform(-1.7, 1.7, shape).astype(np.float32)


def save(path: Path, text: str, **weights: np.ndarray) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')
    for name, data in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def state_cell(path: Path) -> Path:
    """A frame and a state of two rows (h and c of a hand-written cell), the next state stacked again."""
    text = """(float[1,6] x, float[2,1,12] s) => (float[1,5] y, float[2,1,12] sn) {
        h, c = Split <axis=0> (s)
        h2 = Reshape (h, row)
        c2 = Reshape (c, row)
        a = MatMul (x, wx)
        b = MatMul (h2, wh)
        z = Add (a, b)
        i, f, o, g = Split <axis=1> (z)
        si = Sigmoid (i)
        sf = Sigmoid (f)
        so = Sigmoid (o)
        tg = Tanh (g)
        keep = Mul (sf, c2)
        new = Mul (si, tg)
        cn = Add (keep, new)
        tc = Tanh (cn)
        hn = Mul (so, tc)
        both = Concat <axis=0> (hn, cn)
        sn = Reshape (both, stacked)
        y = Gemm (hn, wy, by)
    }"""
    weights = {"wx": random(6, 48) * 0.5, "wh": random(12, 48) * 0.3, "wy": random(12, 5), "by": random(5)}
    return save(path, text, row=np.array([1, 12]), stacked=np.array([2, 1, 12]), **weights)


def context(path: Path) -> Path:
    """Attention of a sequence to context tokens that have no batch axis."""
    text = """(float[1,9,24] x, float[5,24] ctx) => (float[1,9,24] y) {
        q = MatMul (x, wq)
        k = MatMul (ctx, wk)
        v = MatMul (ctx, wv)
        kt = Transpose <perm=[1,0]> (k)
        s = MatMul (q, kt)
        p = Softmax <axis=-1> (s)
        o = MatMul (p, v)
        r = Relu (o)
        u = MatMul (r, wo)
        y = Add (u, x)
    }"""
    return save(path, text, **{name: random(24, 24) * 0.2 for name in ("wq", "wk", "wv", "wo")})


def picture(path: Path) -> Path:
    """Two convolutions of a picture without a batch axis, and its mean a channel."""
    text = """(float[3,12,10] x) => (float[6,12,10] y, float[6] m) {
        u = Unsqueeze (x, first)
        c = Conv <pads=[1,1,1,1]> (u, w, b)
        r = Relu (c)
        d = Conv (r, v)
        y = Squeeze (d, first)
        m = ReduceMean <axes=[1,2], keepdims=0> (y)
    }"""
    return save(path, text, first=np.array([0]), w=random(8, 3, 3, 3) * 0.3, b=random(8), v=random(6, 8, 1, 1) * 0.4)


def time_major(path: Path) -> Path:
    """An LSTM over (7 steps, 1 sequence, 5 features)."""
    text = """(float[7,1,5] x) => (float[7,1,12] y) {
        a, h, c = LSTM <hidden_size=16> (x, w, r, b)
        s = Squeeze (a, second)
        y = MatMul (s, v)
    }"""
    weights = {"w": random(1, 64, 5) * 0.4, "r": random(1, 64, 16) * 0.3, "b": random(1, 128) * 0.1}
    return save(path, text, second=np.array([1]), v=random(16, 12) * 0.4, **weights)


SHAPES = {
    state_cell: {"x": (6,), "s": (2, 1, 12)},
    context: {"x": (9, 24), "ctx": (5, 24)},
    picture: {"x": (3, 12, 10)},
    time_major: {"x": (7, 1, 5)},
}
LEAST = {"w8a8": 22.0, "w8a16": 36.0}
"""dB of FP32 against target; with each tensor cut to its first row they were 1 to 8."""


def samples(make, count: int) -> dict[str, np.ndarray]:
    return {name: random(count, *shape) * (0.4 if name == "s" else 1.0) for name, shape in SHAPES[make].items()}


def figures(report) -> list[float]:
    return [output["fp32_vs_target_sqnr_db"] for output in report["outputs"]]


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("make", list(SHAPES))
def test_as_accurate_as_with_a_batch(make, scheme: str, tmp_path: Path) -> None:
    net = make(tmp_path / "net.onnx")
    report = deploy(net, samples(make, 30), tmp_path / "out", scheme=scheme, metric=None, report=False)
    assert report["samples"] == 6
    assert min(figures(report)) > LEAST[scheme]


@pytest.mark.parametrize("make", [state_cell, context])
def test_all_of_an_output_is_compared(make, tmp_path: Path) -> None:
    """The figure of verify is that of whole outputs, not of their first row."""
    net, data = make(tmp_path / "net.onnx"), samples(make, 10)
    report = deploy(net, data, tmp_path / "out", eval_data=data, recipe="plain", metric=None, report=False)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    float_net, sim = (
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in (net, tmp_path / "out" / "model.qdq.onnx")
    )
    noise, signal = 0.0, 0.0
    for i in range(10):
        feed = {name: a[i] if a[i].ndim == 3 or name == "ctx" else a[i][None] for name, a in data.items()}
        wanted, got = float_net.run(None, feed)[-1], sim.run(None, feed)[-1]
        noise, signal = noise + float(((wanted - got) ** 2).sum()), signal + float((wanted**2).sum())
    assert report["outputs"][-1]["fp32_vs_sim_sqnr_db"] == pytest.approx(10 * np.log10(signal / noise), abs=0.7)


@pytest.mark.parametrize("recipe", ["plain", "best"])
@pytest.mark.parametrize("make", [state_cell, context])
def test_every_recipe(make, recipe: str, tmp_path: Path) -> None:
    net = make(tmp_path / "net.onnx")
    report = deploy(net, samples(make, 30), tmp_path / "out", recipe=recipe, metric=None, report=False)
    assert min(figures(report)) > LEAST["w8a8"]


def test_states_roll_through_deploy_and_are_remembered_by_the_folder(tmp_path: Path) -> None:
    net = state_cell(tmp_path / "net.onnx")
    x = random(30, 6)
    report = deploy(load(net, states={"s": "sn"}), {"x": x}, tmp_path / "out", metric=None, report=False)
    assert report["samples"] == 6 and min(figures(report)) > LEAST["w8a8"]
    found = debug(tmp_path / "out", {"x": x}, samples=2)
    assert found.tensors


def test_training_debugging_and_analysis_take_whole_samples(tmp_path: Path) -> None:
    net, data = state_cell(tmp_path / "net.onnx"), samples(state_cell, 10)
    deploy(net, data, tmp_path / "out", metric=None, report=False)
    assert analyze(tmp_path / "out", data, samples=3, workers=1).samples == 3
    trained = finetune_folder(tmp_path / "out", data, steps=4)
    assert trained.summary["steps"] == 4
