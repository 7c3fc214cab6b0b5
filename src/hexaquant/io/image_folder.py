"""A folder of images as data: decoded, resized, cropped and normalized as a spec says.

Labels: with sub-folders, the index of the image's sub-folder in sorted order; with a file ``labels.txt`` of lines
``file label``, those; otherwise none. Pillow is imported only here, when an image is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hexaquant.core.errors import EnvironmentLacksError, InputError
from hexaquant.io.batches import Array
from hexaquant.io.dataset import Dataset
from hexaquant.ir.input_spec import InputSpec, Shape

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
LONGEST_SIDE = 2**16
"""Pixels."""


@dataclass(frozen=True)
class ImageSpec:
    """Preprocessing: ``(pixel * scale - mean) / std`` after resizing and a centre crop.

    ``size``: (height, width) that the network gets, None for the graph input's; ``resize``: length of the shorter
    side before the crop, None to resize to ``size`` directly (aspect ratio not kept); ``mean``/``std``: one number
    or one per channel, in units after ``scale``.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] | None = None
    color: Literal["RGB", "BGR", "GRAY"] = "RGB"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ImageSpec:
        """From a parsed YAML or JSON object. Raises InputError naming an unknown key or a bad value."""
        known = {f.name for f in fields(cls)}
        unknown = [k for k in values if k not in known]
        if unknown:
            raise InputError(f"the image spec has no key '{unknown[0]}'; its keys are {', '.join(sorted(known))}")
        clean: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for key in ("mean", "std"):
            if _is_number(clean.get(key)):
                clean[key] = (float(clean[key]),)
        if _is_number(clean.get("size")):
            clean["size"] = (clean["size"], clean["size"])
        return cls(**clean)

    def __post_init__(self) -> None:
        choices: dict[str, tuple[str | None, ...]] = {"layout": (None, "NCHW", "NHWC"), "color": ("RGB", "BGR", "GRAY")}
        choices["interpolation"] = ("nearest", "bilinear", "bicubic", "lanczos")
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                names = ", ".join(str(a) for a in allowed if a)
                raise InputError(f"the image spec's '{key}' is {getattr(self, key)!r}; choose {names}")
        self._check_numbers()
        if any(s == 0 for s in self.std):
            raise InputError("the image spec's 'std' holds 0; give the deviation to divide by")

    def _check_numbers(self) -> None:
        for key in ("mean", "std"):
            values = getattr(self, key)
            if not isinstance(values, tuple) or not values or not all(map(_is_number, values)):
                raise InputError(f"the image spec's '{key}' is {values!r}; give a number, or a list of one per channel")
        if not _is_number(self.scale):
            raise InputError(f"the image spec's 'scale' is {self.scale!r}; give the factor for pixels of 0 to 255")
        size, resize = self.size, self.resize
        if size is not None and not (isinstance(size, tuple) and len(size) == 2 and all(map(_is_length, size))):
            raise InputError(f"the image spec's 'size' is {size!r}; give the height and the width in pixels")
        if resize is not None and not _is_length(resize):
            raise InputError(f"the image spec's 'resize' is {resize!r}; give the shorter side in pixels")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < LONGEST_SIDE


def image_folder(folder: Path, specs: tuple[InputSpec, ...], image: ImageSpec) -> Dataset:
    """A Dataset of the images under ``folder``, sorted by path, one per sample.

    Raises InputError when there are none or the model has not exactly one image input.
    """
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise InputError(f"{folder} holds no images ({', '.join(SUFFIXES)}); give a folder with images")
    if len(specs) != 1 or len(_picture(specs[0])) != 3:
        raise InputError(f"{folder} holds images but the model does not have exactly one image input; use an .npz file")
    spec, labels = specs[0], _labels(folder, files)
    layout = image.layout or _layout(spec)
    size = image.size or _size(spec, layout)

    def items() -> Iterator[Any]:
        for index, file in enumerate(files):
            array = read_image(file, image, size, layout).astype(spec.dtype)[None]
            yield (array,) if labels is None else (array, labels[index : index + 1])

    several = spec.rows > 1 and len(spec.shape) == 4
    return Dataset(specs, items, str(folder), None if several else len(files))


def _picture(spec: InputSpec) -> Shape:
    """Shape of one picture: an input of several pictures that is fed whole takes them one after the other."""
    return spec.shape[1:] if len(spec.shape) == 4 else spec.sample_shape


def _layout(spec: InputSpec) -> Literal["NCHW", "NHWC"]:
    """By where the 1 or 3 channels are; NCHW when both ends could be."""
    first, last = _picture(spec)[0], _picture(spec)[-1]
    return "NHWC" if last in (1, 3) and first not in (1, 3) else "NCHW"


def _size(spec: InputSpec, layout: str) -> tuple[int, int]:
    dims = _picture(spec)[1:] if layout == "NCHW" else _picture(spec)[:2]
    height, width = dims
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(f"input '{spec.name}' has a dynamic size {spec.shape}; give 'size' in the image spec")
    return height, width


def _labels(folder: Path, files: list[Path]) -> Array | None:
    listed = folder / "labels.txt"
    if listed.is_file():
        pairs = dict(line.rsplit(maxsplit=1) for line in listed.read_text().splitlines() if line.strip())
        names = [str(f.relative_to(folder).as_posix()) for f in files]
        missing = [n for n in names if n not in pairs]
        if missing or not all(str(pairs[n]).lstrip("-").isdigit() for n in names):
            raise InputError(f"{listed} has no integer label for '{(missing or names)[0]}'; add a line 'file label'")
        return np.array([int(pairs[n]) for n in names])
    classes = sorted({f.relative_to(folder).parts[0] for f in files if f.parent != folder})
    if not classes or any(f.parent == folder for f in files):
        return None
    return np.array([classes.index(f.relative_to(folder).parts[0]) for f in files])


def read_image(path: Path, image: ImageSpec, size: tuple[int, int], layout: str) -> Array:
    """One image as float32, (C, H, W) or (H, W, C). Raises InputError when it cannot be decoded."""
    try:
        from PIL import Image
    except ImportError:
        raise EnvironmentLacksError("reading images needs Pillow; install it with: pip install pillow") from None
    try:
        with Image.open(path) as file:
            picture = file.convert("L" if image.color == "GRAY" else "RGB")
    except OSError as error:
        raise InputError(f"{path} is not a readable image ({error}); remove or replace it") from None
    resampling = getattr(Image.Resampling, image.interpolation.upper())
    picture = _fit(picture, size, image.resize, resampling)
    pixels = np.asarray(picture, np.float32).reshape(*size, -1)
    if image.color == "BGR":
        pixels = pixels[..., ::-1]
    mean, std = (_of_channels(image, key, pixels.shape[-1]) for key in ("mean", "std"))
    values = (pixels * np.float32(image.scale) - mean) / std
    return np.ascontiguousarray(values if layout == "NHWC" else values.transpose(2, 0, 1))


def _of_channels(image: ImageSpec, key: Literal["mean", "std"], channels: int) -> Array:
    numbers = getattr(image, key)
    if len(numbers) not in (1, channels):
        raise InputError(
            f"the image spec's '{key}' has {len(numbers)} numbers but images have {channels} channels; give one or "
            f"{channels}"
        )
    return np.array(numbers, np.float32)


def _fit(picture: Any, size: tuple[int, int], resize: int | None, resampling: Any) -> Any:
    """Resize (shorter side to ``resize``, or to ``size`` outright), then crop the centre to ``size``."""
    height, width = size
    if resize is None:
        return picture.resize((width, height), resampling)
    ratio = resize / min(picture.size)
    wide, high = (max(round(side * ratio), 1) for side in picture.size)
    picture = picture.resize((wide, high), resampling)
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return picture.crop((left, top, left + width, top + height))
