"""The options that say how an image folder is read, for every command that takes data.

A command declares one parameter ``images: Images = None`` and is decorated with :func:`takes_image_options`; on the
command line that parameter is eight options, in the function it is the ImageSpec they describe.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_yaml

if TYPE_CHECKING:
    from hexaquant.io.image_folder import ImageSpec

    Images = ImageSpec | None
else:
    Images = Any

OPTIONS: dict[str, Any] = {
    "images": Annotated[Path | None, typer.Option(help="YAML file with the preprocessing of an image folder.")],
    "image_size": Annotated[str | None, typer.Option(help="Size of images: 224 or HEIGHT,WIDTH.")],
    "resize": Annotated[int | None, typer.Option(min=1, help="Shorter side before the centre crop, pixels.")],
    "scale": Annotated[float | None, typer.Option(help="Factor for pixels 0..255, before mean (default 1/255).")],
    "mean": Annotated[str | None, typer.Option(help="Subtracted from scaled pixels: 0.5 or R,G,B.")],
    "std": Annotated[str | None, typer.Option(help="Divides the difference: 0.5 or R,G,B.")],
    "layout": Annotated[str | None, typer.Option(help="NCHW or NHWC (default: by the input's shape).")],
    "color": Annotated[str | None, typer.Option(help="RGB, BGR or GRAY.")],
}


def takes_image_options(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with its parameter ``images`` replaced by OPTIONS."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name, None) for name in OPTIONS}
        command(*args, images=image_spec(given.pop("images"), size=given.pop("image_size"), **given), **kwargs)

    parameters = []
    for parameter in signature.parameters.values():
        parameters += _options() if parameter.name == "images" else [parameter]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _options() -> list[inspect.Parameter]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [inspect.Parameter(name, kind, default=None, annotation=option) for name, option in OPTIONS.items()]


def image_spec(
    file: Path | None = None,
    *,
    size: str | None = None,
    resize: int | None = None,
    scale: float | None = None,
    mean: str | None = None,
    std: str | None = None,
    layout: str | None = None,
    color: str | None = None,
) -> ImageSpec | None:
    """The preprocessing of image folders: the YAML ``file``'s, single options over it; None when none is given."""
    values: dict[str, Any] = {} if file is None else _read_yaml(file)
    if size is not None:
        sizes = [int(n) for n in _numbers(size, "--image-size")]
        values["size"] = sizes * 2 if len(sizes) == 1 else sizes
    single = {"resize": resize, "scale": scale, "layout": layout and layout.upper(), "color": color and color.upper()}
    values |= {key: value for key, value in single.items() if value is not None}
    for key, text in (("mean", mean), ("std", std)):
        if text is not None:
            values[key] = _numbers(text, f"--{key}")
    if not values:
        return None
    from hexaquant.io.image_folder import ImageSpec

    return ImageSpec.of(values)


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
