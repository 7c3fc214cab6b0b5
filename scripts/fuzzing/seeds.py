"""Small legal files of every kind that fuzzing starts from."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'

MODELS = (
    HEADER
    + """net (float[N, 3, 4] x) => (float[N, 12] y)
    <float[1, 3, 4] shift = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64[2] shape = {-1, 12}>
    { sum = Add(x, shift) active = Relu(sum) y = Reshape(active, shape) }""",
    HEADER
    + """net (float[1, 2, 4, 4] x) => (float[1, 2] y)
    <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] b = {0, 1}, float[2] gain = {1, 1}, float[2] mean = {0, 0},
     float[2] variance = {1, 1}>
    {
        c = Conv <kernel_shape = [1, 1]> (x, w, b)
        n = BatchNormalization <epsilon = 0.001> (c, gain, b, mean, variance)
        h = HardSigmoid <alpha = 0.2, beta = 0.5> (n)
        m = Mul(n, h)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (m)
        r = ReduceMean <axes = [2, 3], keepdims = 0> (p)
        y = Gemm <transB = 1> (r, flat, b)
    }""".replace("float[2] b =", "float[2, 2] flat = {1, 0, 0, 1}, float[2] b ="),
    HEADER
    + """net (float[2, 6] x) => (float[2, 3] y)
    <int64[1] starts = {0}, int64[1] ends = {3}, int64[1] axes = {1}, bool flag = {1}, float half = {0.5}>
    {
        s = Slice(x, starts, ends, axes)
        t = Transpose <perm = [1, 0]> (s)
        u = Transpose <perm = [1, 0]> (t)
        v = If(flag) <
            then_branch = yes () => (float[2, 3] a) { a = Mul(u, half) },
            else_branch = no () => (float[2, 3] b) { b = Identity(u) }
        >
        y = Softmax <axis = -1> (v)
    }""",
)

AIMET = Path(__file__).parents[2] / "tests" / "data" / "aimet"
"""Files that AIMET wrote for one small network."""

INPUT_LISTS = (b"x.raw\nx:=x.raw\n\n# comment\n% y\n", b"x:=./x.raw\r\nx.raw")

MANIFEST = json.dumps(
    {
        "format": 1,
        "target": "sm8650",
        "scheme": "w8a8",
        "versions": {"hexaquant": "0.1.0"},
        "files": {"model.onnx": {"sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3}},
        "sections": {"lower": {"io": {}}},
    }
).encode()

SETTINGS = (
    b'"head.*": w8a16\n"*/Softmax*": float16\n"features.0.weight": {bits: 8, granularity: tensor, symmetric: true}\n',
    b"name: mine\nsteps:\n- equalize_layers\n- if_better: {round_weights: {method: gptq}}\n"
    b"- calibrate: {observer: mse}\n",
    b"size: [224, 224]\nmean: [0.485, 0.456, 0.406]\nstd: 0.2\nlayout: NCHW\ncolor: RGB\nresize: 256\n",
    b'{"graphs": [{"graph_names": ["net"], "vtcm_mb": 8, "O": 3.0, "fp16_relaxed_precision": 1}], '
    b'"devices": [{"soc_id": 57}]}',
    b"Converted Graph:\n- Output Tensors: ['y']\nInput Tensor Configuration:\n- Name: x\n"
    b"  Src Model Parameters: {DataType: float32}\n",
    b"a: &a [1, 1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\nd: 2020-01-01\ne: !!binary aGVsbG8=\nf: 0b101\n",
)


def aimet_files(pattern: str) -> tuple[bytes, ...]:
    """The contents of AIMET's files of that name pattern."""
    return tuple(path.read_bytes() for path in sorted(AIMET.glob(pattern)))


def model_bytes(text: str) -> bytes:
    """The ONNX file that ``text`` describes."""
    return onnx.parser.parse_model(text).SerializeToString()


def exported_program() -> bytes:
    """An archive as ``torch.export.save`` writes it."""
    import torch

    buffer = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), buffer)
    return buffer.getvalue()


def keras_archive() -> bytes:
    """The configuration of a small Keras network, without weights."""
    layer = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "d", "units": 2},
        "registered_name": None,
    }
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
    return buffer.getvalue()


def arrays() -> bytes:
    """Two samples with labels for the first of MODELS."""
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((2, 3, 4), np.float32), labels=np.array([0, 1]))
    return buffer.getvalue()
