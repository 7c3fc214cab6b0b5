"""A tiny classifier as an ONNX file, and data for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
tiny (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv <pads=[1,1,1,1]> (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = Gemm <transB=1> (f, v)
}"""


def tiny_model(seed: int = 0) -> onnx.ModelProto:
    """Convolution, ReLU, pooling and a classifier of 4 classes: x (N, 3, 8, 8) to y (N, 4)."""
    rng = np.random.default_rng(seed)
    model = onnx.parser.parse_model(TEXT)
    shapes = {"w": (6, 3, 3, 3), "b": (6,), "v": (4, 6)}
    for name, shape in shapes.items():
        data = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    return model


def samples(count: int, seed: int = 1) -> np.ndarray:
    """(count, 3, 8, 8) float32: noise with a level for each sample and channel."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, 3, 8, 8)) + 2 * rng.standard_normal((count, 3, 1, 1))
    return noise.astype(np.float32)


def labels(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What the FP32 network says: with these as labels its top-1 is 1."""
    from onnx.reference import ReferenceEvaluator

    (logits,) = ReferenceEvaluator(model).run(None, {"x": x})
    return np.asarray(logits).argmax(1)


def save_data(path: Path, count: int = 10, **changes: np.ndarray) -> Path:
    """An .npz for the tiny network; ``changes`` replaces or adds arrays."""
    np.savez(path, **({"x": samples(count)} | changes))  # type: ignore[arg-type]
    return path


def save_listed(folder: Path, entry: str) -> None:
    """tiny.onnx, 4 samples x<i>.raw, and list.txt with a line for each: ``entry`` ("x:=" or "") and its file."""
    onnx.save(tiny_model(), folder / "tiny.onnx")
    for index, sample in enumerate(samples(4)):
        sample.tofile(folder / f"x{index}.raw")
    (folder / "list.txt").write_text("".join(f"{entry}x{index}.raw\n" for index in range(4)))
