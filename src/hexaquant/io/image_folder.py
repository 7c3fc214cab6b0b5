"""A folder of images as data: decoded, resized, cropped and normalized as a spec says.

Labels, the first that there is: ``labels.txt`` of lines ``file label``; ``classes.json`` ({"folder": number} or a list
of folders); sub-folders whose names are numbers, those; sub-folders in sorted order, empty ones too; otherwise none.
Hidden files and folders are passed over. Pillow is imported only here, when an image is read.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError
from hexaquant.core.text_file import read_json, read_text
from hexaquant.io.batches import Array
from hexaquant.io.dataset import Dataset
from hexaquant.ir.input_spec import InputSpec, Shape

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
LONGEST_SIDE = 2**16
"""Pixels."""
CLASSES = "classes.json"
SHOWN_CLASSES = 12
MOST_PIXELS = 100_000_000
"""Of one picture: 300 MB decoded."""


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

    def words(self, size: tuple[int, int], layout: str) -> str:
        """ "pictures resized to 224x224, RGB, NCHW, (pixel * 0.003922 - 0) / 1"."""
        target = f"{size[0]}x{size[1]}"
        if self.resize is None:
            cut = f"resized to {target}"
        else:
            cut = f"resized to a shorter side of {self.resize} and cut to {target}"
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        mean, std = (f"[{text}]" if "," in text else text for text in (mean, std))
        text = f"pictures {cut}, {self.color}, {layout}, (pixel * {self.scale:.4g} - {mean}) / {std}"
        given = self != ImageSpec(size=self.size, layout=self.layout)
        return text if given else f"{text}: the defaults, as no preprocessing was given (--images)"

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
        size = self.size
        resize = self.resize
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
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file() and _is_seen(f, folder))
    if not files:
        raise InputError(f"{folder} holds no images ({', '.join(SUFFIXES)}); give a folder with images")
    if len(specs) != 1 or len(_picture(specs[0])) != 3:
        raise InputError(f"{folder} holds images but the model does not have exactly one image input; use an .npz file")
    spec = specs[0]
    labels, note = _labels(folder, files)
    layout = image.layout or _layout(spec)
    size = image.size or _size(spec, layout)
    if image.resize is not None and image.resize < min(size):
        raise InputError(
            f"the image spec's 'resize' is {image.resize} but images of {size[0]}x{size[1]} are cut out of the result; "
            f"give at least {max(size)}"
        )

    def items() -> Iterator[Any]:
        for index, file in enumerate(files):
            array = read_image(file, image, size, layout).astype(spec.dtype)[None]
            yield (array,) if labels is None else (array, labels[index : index + 1])

    several = spec.rows > 1 and len(spec.shape) == 4
    made = image.words(size, layout)
    return Dataset(specs, items, str(folder), None if several else len(files), note=note, made=made)


def _picture(spec: InputSpec) -> Shape:
    """Shape of one picture: an input of several pictures that is fed whole takes them one after the other."""
    return spec.shape[1:] if len(spec.shape) == 4 else spec.sample_shape


def _is_seen(path: Path, folder: Path) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)


def _layout(spec: InputSpec) -> Literal["NCHW", "NHWC"]:
    """By where the 1 or 3 channels are; NCHW when both ends could be."""
    first = _picture(spec)[0]
    last = _picture(spec)[-1]
    return "NHWC" if last in (1, 3) and first not in (1, 3) else "NCHW"


def _size(spec: InputSpec, layout: str) -> tuple[int, int]:
    dims = _picture(spec)[1:] if layout == "NCHW" else _picture(spec)[:2]
    height, width = dims
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(f"input '{spec.name}' has a dynamic size {spec.shape}; give 'size' in the image spec")
    return height, width


def _labels(folder: Path, files: list[Path]) -> tuple[Array | None, str]:
    """One class number a file, or None; and which class is what, in words."""
    if (folder / "labels.txt").is_file():
        return _listed_labels(folder / "labels.txt", [f.relative_to(folder).as_posix() for f in files]), ""
    if not any(f.parent != folder for f in files):
        return None, ""
    stray = next((f for f in files if f.parent == folder), None)
    if stray is not None:
        raise InputError(
            f"{stray} lies beside the folders of classes; move it into one, or give {folder / 'labels.txt'}"
        )
    numbers = _class_numbers(folder)
    names = [f.relative_to(folder).parts[0] for f in files]
    unknown = next((name for name in names if name not in numbers), None)
    if unknown is not None:
        raise InputError(f"{folder / CLASSES} has no number for the folder '{unknown}'; add it")
    return np.array([numbers[name] for name in names]), _mapping(numbers, names)


def _listed_labels(path: Path, names: list[str]) -> Array:
    rows = [line.rsplit(maxsplit=1) for line in read_text(path, "list of labels").splitlines() if line.strip()]
    wrong = next((row for row in rows if len(row) != 2 or not re.fullmatch(r"[0-9]{1,9}", row[1])), None)
    if wrong is not None:
        raise InputError(
            f"{path}: the line '{' '.join(wrong)[:80]}' is not of the form 'file label' with a class number"
        )
    pairs = dict(rows)
    if len(pairs) < len(rows):
        given = [row[0] for row in rows]
        raise InputError(f"{path} names '{next(n for n in given if given.count(n) > 1)}' twice; keep one line")
    missing = next((name for name in names if name not in pairs), None)
    if missing is not None:
        raise InputError(f"{path} has no integer label for '{missing}'; add a line 'file label'")
    return np.array([int(pairs[name]) for name in names])


def _class_numbers(folder: Path) -> dict[str, int]:
    """Folder -> class number, of all visible sub-folders, empty ones included."""
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and _is_seen(f, folder))
    if (folder / CLASSES).is_file():
        return _stated_numbers(folder / CLASSES)
    numeric = [name for name in names if re.fullmatch(r"[0-9]{1,9}", name)]
    if not numeric:
        return {name: index for index, name in enumerate(names)}
    other = next((name for name in names if name not in numeric), None)
    if other is not None:
        raise InputError(
            f"{folder}: folders of classes are numbers ('{numeric[0]}') and names ('{other}'); say which class each is "
            f'in {CLASSES}: {{"{other}": 0, ...}}'
        )
    numbers = {name: int(name) for name in names}
    if len(set(numbers.values())) < len(numbers):
        raise InputError(f"{folder}: two folders are the same class number; put their images into one")
    return numbers


def _stated_numbers(path: Path) -> dict[str, int]:
    stated = read_json(path, "file of classes")
    if isinstance(stated, list):
        stated = {name: index for index, name in enumerate(stated)} if all(isinstance(n, str) for n in stated) else None
    fits = isinstance(stated, dict) and all(type(n) is int and 0 <= n < 2**31 for n in stated.values())
    if not isinstance(stated, dict) or not fits:
        raise InputError(f'{path} must be {{"folder": class number}} or a list of folders in the order of the classes')
    return stated


def _mapping(numbers: Mapping[str, int], names: list[str]) -> str:
    """ "0 = cat (12 images), 1 = dog (9)", of the first few classes."""
    rows = sorted((number, name) for name, number in numbers.items())
    shown = ", ".join(f"{number} = {name} ({names.count(name)})" for number, name in rows[:SHOWN_CLASSES])
    more = f" and {len(rows) - SHOWN_CLASSES} more" if len(rows) > SHOWN_CLASSES else ""
    return f"class = folder (images): {shown}{more}"


def read_image(path: Path, image: ImageSpec, size: tuple[int, int], layout: str) -> Array:
    """One image as float32, (C, H, W) or (H, W, C). Raises InputError when it cannot be decoded."""
    try:
        from PIL import Image
    except ImportError:
        raise EnvironmentLacksError("reading images needs Pillow; install it with: pip install pillow") from None
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if file.width * file.height > MOST_PIXELS:
                raise InputError(f"{path} has {file.width}x{file.height} pixels; make it smaller or remove it")
            picture = _eight_bits(file, path).convert("L" if image.color == "GRAY" else "RGB")
    except HexaquantError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever their format's code does
        raise InputError(f"{path} is not a readable image ({error}); remove or replace it") from None
    resampling = getattr(Image.Resampling, image.interpolation.upper())
    picture = _fit(picture, size, image.resize, resampling, path)
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


def _eight_bits(picture: Any, path: Path) -> Any:
    """``picture`` with pixels 0 to 255: 16 bits are scaled by 255 / 65535. Raises InputError for floats and 32 bits.

    Pillow's own conversion cuts off at 255 instead, and knows no scale for floats.
    """
    from PIL import Image

    if picture.mode == "F" or (picture.mode == "I" and picture.format != "PNG"):
        kind = "floats" if picture.mode == "F" else "32-bit integers"
        raise InputError(f"{path} holds {kind}, which have no known range; write it with 8 or 16 bits, or give an .npz")
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    wide = np.asarray(picture).astype(np.float64)
    return Image.fromarray(np.rint(wide * (255 / 65535)).clip(0, 255).astype(np.uint8))


def _fit(picture: Any, size: tuple[int, int], resize: int | None, resampling: Any, path: Path) -> Any:
    """Resize (shorter side to ``resize``, or to ``size`` outright), then crop the centre to ``size``."""
    height, width = size
    if resize is None:
        return picture.resize((width, height), resampling)
    ratio = resize / min(picture.size)
    wide, high = (max(round(side * ratio), 1) for side in picture.size)
    if wide < width or high < height:
        raise InputError(f"{path} has {high}x{wide} pixels with its shorter side at {resize}, less than the network's "
                         f"{height}x{width}; give a larger 'resize'")  # fmt: skip
    if wide * high > MOST_PIXELS:
        raise InputError(f"{path} would have {high}x{wide} pixels with its shorter side at {resize}; crop or remove it")
    picture = picture.resize((wide, high), resampling)
    left = round((wide - width) / 2)
    top = round((high - height) / 2)
    return picture.crop((left, top, left + width, top + height))
