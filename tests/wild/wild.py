"""What every test of a wild network does: deploy the file as it is, and compare the target with the file itself.

The truth is onnxruntime without optimisations on the file that the user has, on samples that calibration never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

import hexaquant as hq

TARGET = "sm8650"
Arrays = Mapping[str, np.ndarray]


def written(path: Path, text: str, opset: int = 17, ir: int = 8, **constants: np.ndarray) -> Path:
    """An ONNX file of ``(inputs) => (outputs) {nodes}``; ``constants`` are its initializers."""
    imports = f'"" : {opset}, "com.microsoft" : 1'
    model = onnx.parser.parse_model(f"<ir_version: {ir}, opset_import: [{imports}]>\ng {text}")
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    onnx.save(model, path)
    return path


def normal(*shape: int, seed: int = 0, size: float = 1.0) -> np.ndarray:
    return (size * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def outputs(path: Path, samples: Arrays) -> dict[str, np.ndarray]:
    """Of onnxruntime without optimisations, one sample of ``samples`` (a leading axis) at a time, stacked."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    runs = [session.run(names, one) for one in singles(samples)]
    return {name: np.stack(found) for name, found in zip(names, zip(*runs, strict=True), strict=True)}


def singles(samples: Arrays) -> list[dict[str, np.ndarray]]:
    """The samples one by one; each keeps an axis of 1 as its batch."""
    count = len(next(iter(samples.values())))
    return [{name: array[i : i + 1] for name, array in samples.items()} for i in range(count)]


def on_target(folder: Path, samples: Arrays) -> dict[str, np.ndarray]:
    """Of the compiled binary on the emulator, stacked as :func:`outputs` does."""
    with hq.Runtime(next(folder.glob("*.bin"))) as runtime:
        runs = [runtime.run(one) for one in singles(samples)]
    return {name: np.stack([np.asarray(run[name]) for run in runs]) for name in runs[0]}


def sqnr(wanted: np.ndarray, got: np.ndarray) -> float:
    """In dB."""
    noise = np.square(wanted.astype(np.float64) - got.reshape(wanted.shape).astype(np.float64)).sum()
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(noise, 1e-30)))


def deployed(
    path: Path, out: Path, scheme: str, calibration: Arrays, unseen: Arrays, **options: object
) -> dict[str, float]:
    """SQNR in dB of each output of the target against the file's own, on ``unseen``."""
    data = [dict(one) for one in singles(calibration)]
    hq.deploy(str(path), data, out, target=TARGET, scheme=scheme, report=False, metric=None, **options)
    found, wanted = on_target(out, unseen), outputs(path, unseen)
    return {name: sqnr(wanted[name], found[name]) for name in wanted}
