"""What a bundle says about its model: the binary, inputs and outputs, preprocessing, labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.htp.soc import Target
from hexaquant.io.image_folder import ImageSpec
from hexaquant.qnn.tensor_io import TensorSpec


@dataclass(frozen=True)
class Picture:
    """Preprocessing with every choice made: what the C runtime needs, and how the image got that size."""

    height: int
    width: int
    channels: int
    layout: str
    spec: ImageSpec


@dataclass(frozen=True)
class ModelCard:
    """One graph of a context binary. ``inputs`` and ``outputs`` in the order of the original network.

    ``labels``: class names, or None; ``image``: None where the preprocessing is not known.
    """

    binary: Path
    sha256: str
    target: Target
    scheme: str
    graph: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    image: Picture | None = None
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for spec in (*self.inputs, *self.outputs):
            if spec.scale is not None and spec.dtype.itemsize > 2:
                raise InputError(f"'{spec.name}' is quantized to {spec.dtype}: a bundle takes 8 and 16 bits only")
        if self.labels is None:
            return
        classes = int(np.prod(self.outputs[0].shape, dtype=np.int64))
        if len(self.labels) != classes:
            raise InputError(
                f"there are {len(self.labels)} labels but output '{self.outputs[0].name}' has {classes} values: "
                "give one class name a line"
            )


def picture_of(image: ImageSpec, inputs: tuple[TensorSpec, ...]) -> Picture:
    """``image`` for the model's one image input. Raises InputError where that does not fit."""
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[0] != 1):
        raise InputError(
            f"the model does not have exactly one image input with batch 1 ({', '.join(map(str, inputs))})"
        )
    dims = shape[-3:]
    layout = image.layout or ("NHWC" if dims[-1] in (1, 3) and dims[0] not in (1, 3) else "NCHW")
    channels, height, width = dims if layout == "NCHW" else (dims[2], dims[0], dims[1])
    wanted = 1 if image.color == "GRAY" else 3
    if channels != wanted or image.size not in (None, (height, width)):
        raise InputError(f"the preprocessing ({image.color}, size {image.size}) does not fit input {inputs[0]}")
    for name, values in (("mean", image.mean), ("std", image.std)):
        if len(values) not in (1, channels):
            raise InputError(f"the preprocessing has {len(values)} values of '{name}' for {channels} channels")
    return Picture(height, width, channels, layout, image)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one per line. Raises InputError."""
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); give a text file with one class name a line") from None
