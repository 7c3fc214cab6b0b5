"""The folder that the pages' snippets run in: one small network under the names that pages use, and data for it.

The network is the one of ``tests/data/aimet`` (3x16x16 to 10 probabilities), so that AIMET's own exports fit it.
"""

from __future__ import annotations

import copy
import shutil
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

AIMET = Path(__file__).parents[1] / "data" / "aimet"
INPUT = "input"

MODEL_PY = '''
"""A network of the reader's own."""

import torch


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = torch.nn.BatchNorm2d(8)
        self.conv2 = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Network().eval(), (torch.zeros(1, 3, 16, 16),)
'''

DATA_PY = '''
"""Data of the reader's own."""

import numpy as np


def batches():
    return [{"input": x[None]} for x in np.load("calib.npz")["input"]]


def calib():
    return batches()


def test():
    file = np.load("test.npz")
    return [(x[None], y[None]) for x, y in zip(file["input"], file["labels"])]
'''

METRIC_PY = '''
"""Metrics of the reader's own: larger is better."""

import numpy as np


def psnr(outputs, labels):
    return float(np.mean(outputs[0].argmax(1) == labels))


map50 = psnr
'''


def fill(folder: Path) -> None:
    """Write everything but the artifact folder ``out`` into ``folder``."""
    for name in ("net.onnx", "model.onnx"):
        shutil.copy(AIMET / "net_fp32.onnx", folder / name)
    shutil.copy(AIMET / "onnx_w8a8_1.0.0.encodings", folder / "net.encodings")
    shutil.copy(AIMET / "onnx_qdq_w8a8_pre0_unsigned.onnx", folder / "net_qdq.onnx")
    for index, name in enumerate(("calib", "calibration", "train", "photos")):
        _save(folder / f"{name}.npz", 20, index)
    for index, name in enumerate(("test", "validation")):
        _save(folder / f"{name}.npz", 8, 10 + index)
    for name, text in (
        ("model.py", MODEL_PY),
        ("data.py", DATA_PY),
        ("metric.py", METRIC_PY),
        ("metrics.py", METRIC_PY),
    ):
        (folder / name).write_text(textwrap.dedent(text).lstrip())
    (folder / "htp.json").write_text(
        '{"graphs": [{"graph_names": ["model"], "O": 3}], "devices": [{"dsp_arch": "v75"}]}'
    )
    _images(folder / "photos")
    _raw_files(folder)


def fill_language_model(folder: Path) -> None:
    """Add ``my-model``, a language model of two layers, and a text; for the one page that needs them."""
    from llm.tiny import decoder, tokenizer

    decoder("llama", vocab_size=384).save_pretrained(folder / "my-model")
    tokenizer().save_pretrained(folder / "my-model")
    (folder / "prose.txt").write_text("The quick brown fox jumps over the lazy dog. " * 8)


def samples(count: int, seed: int) -> np.ndarray:
    """(count, 3, 16, 16) float32, standard normal."""
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32)


def _save(path: Path, count: int, seed: int) -> None:
    """An .npz whose labels are the float network's own answers: FP32 scores 1."""
    import onnxruntime

    x = samples(count, seed)
    session = onnxruntime.InferenceSession(str(AIMET / "net_fp32.onnx"), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {INPUT: x})
    np.savez(path, **{INPUT: x, "labels": np.asarray(answers).argmax(1)})


def _images(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{index}.png")


def _raw_files(folder: Path) -> None:
    lines = []
    for index, sample in enumerate(samples(2, 5)):
        sample.tofile(folder / f"image{index}.raw")
        np.save(folder / f"image{index}.npy", sample[None])
        lines.append(f"{INPUT}:=image{index}.raw\n")
    np.save(folder / "image.npy", samples(1, 5))
    for name in ("input_list.txt", "calibration.txt"):
        (folder / name).write_text("".join(lines))


def names() -> dict[str, Any]:
    """What Python snippets may take as given: a network, data, a loss; a fresh copy. Pages say so in words."""
    made = _made()
    network = copy.deepcopy(made["network"])
    return made | {"network": network, "original": network, "graph": made["graph"].clone()}


@cache
def _made() -> dict[str, Any]:
    import torch

    import hexaquant as hq

    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(MODEL_PY, "model.py", "exec"), space)
    network, (x,) = space["build"]()
    inputs = torch.from_numpy(samples(20, 0))
    with torch.no_grad():
        labels = network(inputs).argmax(1)
    pairs = list(zip(inputs, labels))
    loader = torch.utils.data.DataLoader(pairs, batch_size=4)  # type: ignore[arg-type]
    criterion = torch.nn.functional.cross_entropy
    return space | {
        "hq": hq, "torch": torch, "np": np, "network": network, "x": x, "loader": loader,
        "validation": loader, "criterion": criterion, "your_function": criterion,
        "graph": hq.load(network, example_inputs=(x,)),
    }  # fmt: skip
