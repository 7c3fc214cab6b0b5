"""The demo's data: a subset of Fashion-MNIST that lies inside the package (see data/README.md)."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hexaquant.core.errors import EnvironmentLacksError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

FOLDER = Path(__file__).parent / "data"
SIZE = 28
MEAN = 0.2860
DEVIATION = 0.3530
"""Mean and standard deviation of the original training images, grey levels in 0 .. 1."""

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def load_train(folder: Path = FOLDER) -> tuple[Images, Labels]:
    """27,000 training images, uint8 (N, 28, 28), and their labels, int64 (N,). Raises EnvironmentLacksError."""
    return _load(folder, "train")


def load_test(folder: Path = FOLDER) -> tuple[Images, Labels]:
    """The whole test set: 10,000 images, uint8 (N, 28, 28), and labels, int64 (N,), in the original order.

    The order mixes the classes, so that the first few hundred are a fair sample. Raises EnvironmentLacksError.
    """
    return _load(folder, "test")


def normalized(images: Images) -> npt.NDArray[np.float32]:
    """What the network takes: float32 (N, 1, 28, 28) with zero mean and unit deviation over the training set."""
    scaled = (images.astype(np.float32) / 255.0 - MEAN) / DEVIATION
    return scaled.astype(np.float32)[:, None]


def _load(folder: Path, split: str) -> tuple[Images, Labels]:
    """Labels come first and in order; the images are stored sorted by label and are put back into that order."""
    entry = json.loads((folder / "index.json").read_text(encoding="utf-8"))[split]
    path = folder / entry["file"]
    packed = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(packed).hexdigest() != entry["sha256"]:
        raise EnvironmentLacksError(f"{path} is missing or damaged; install hexaquant again")
    content = np.frombuffer(lzma.decompress(packed), np.uint8)
    count = entry["samples"]
    labels = content[:count].astype(np.int64)
    images = np.empty((count, SIZE, SIZE), np.uint8)
    images[np.argsort(labels, kind="stable")] = content[count:].reshape(count, SIZE, SIZE)
    return images, labels
