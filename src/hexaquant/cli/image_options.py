"""The options that say how an image folder is read, for every command that takes data.

A command declares one parameter ``images: Images = None`` (see cli/option_groups.py), in which it gets the ImageSpec
that they describe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_yaml

if TYPE_CHECKING:
    from hexaquant.io.image_folder import ImageSpec


@dataclass(frozen=True)
class ImageOptions:
    """The preprocessing of image folders: that of the YAML file ``images``, single options over it."""

    panel: ClassVar[str] = "Image folders"

    images: Annotated[Path | None, typer.Option(help="YAML file with the preprocessing of an image folder.")] = None
    image_size: Annotated[str | None, typer.Option(help="Size of images: 224 or HEIGHT,WIDTH.")] = None
    resize: Annotated[int | None, typer.Option(min=1, help="Shorter side before the centre crop, pixels.")] = None
    scale: Annotated[float | None, typer.Option(help="Factor for pixels 0..255, before mean (default 1/255).")] = None
    mean: Annotated[str | None, typer.Option(help="Subtracted from scaled pixels: 0.5 or R,G,B.")] = None
    std: Annotated[str | None, typer.Option(help="Divides the difference: 0.5 or R,G,B.")] = None
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC (default: by the input's shape).")] = None
    color: Annotated[str | None, typer.Option(help="RGB, BGR or GRAY.")] = None

    def value(self) -> ImageSpec | None:
        """None when no option is given. Raises InputError for a wrong value."""
        values: dict[str, Any] = {} if self.images is None else _read_yaml(self.images)
        if self.image_size is not None:
            sizes = [int(n) for n in _numbers(self.image_size, "--image-size")]
            values["size"] = sizes * 2 if len(sizes) == 1 else sizes
        single: dict[str, Any] = {"resize": self.resize, "scale": self.scale}
        single |= {"layout": self.layout and self.layout.upper(), "color": self.color and self.color.upper()}
        values |= {key: value for key, value in single.items() if value is not None}
        for key, text in (("mean", self.mean), ("std", self.std)):
            if text is not None:
                values[key] = _numbers(text, f"--{key}")
        if not values:
            return None
        from hexaquant.io.image_folder import ImageSpec

        return ImageSpec.of(values)


if TYPE_CHECKING:
    Images = ImageSpec | None
else:
    Images = ImageOptions


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text} is not a number or numbers with commas between them; correct it") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    values = read_yaml(path, "image spec")
    if not isinstance(values, dict):
        raise InputError(f"image spec {path} must map keys (size, mean, std ...) to values")
    return values
