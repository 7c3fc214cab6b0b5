"""Arguments and options that several commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.core.errors import InputError, ThresholdMissed

if TYPE_CHECKING:
    from hexaquant.io.image_folder import ImageSpec

MODEL_HELP = (
    "An .onnx or .pt2 file, or module:function or file.py:function that returns (nn.Module, example_inputs). "
    "The latter executes that Python code, as importing it does."
)
DATA_FORMS = ".npz, .npy, input_list.txt, a folder of images, or module:function (which is executed)"

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
FolderArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Artifact folder of deploy or quantize.")]
OutOption = Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Artifact folder to write.")]
DataOption = Annotated[str | None, typer.Option("--data", help=f"Calibration data: {DATA_FORMS}.")]
TargetOption = Annotated[str, typer.Option(help="SoC (sm8650, sm8550, qcs6490 ...) or architecture (v75).")]
SchemeOption = Annotated[str, typer.Option(help="w8a8, w8a16, w4a8, w4a16, w16a16 or fp16.")]
RecipeOption = Annotated[
    str, typer.Option(help="fast (MSE ranges, bias correction), plain (min-max), or a recipe file (.yaml).")
]
OverridesOption = Annotated[Path | None, typer.Option(help="YAML file: tensor or layer glob -> scheme or settings.")]
ShapeOption = Annotated[
    list[str] | None, typer.Option("--shape", help="Shape of an input, NAME=1,3,320,320; repeat for more inputs.")
]
VersionOption = Annotated[str, typer.Option(help="Version of model.encodings: 0.6.1, 1.0.0 or 2.0.0.")]
RandomOption = Annotated[bool, typer.Option("--random-data", help="Calibrate on noise: a trial, not an accuracy.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Make again what OUT holds from the same inputs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
MetricOption = Annotated[str, typer.Option(help="top1, top5, module:function (executed), or none.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Verify on the first N samples only.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Emulator processes (default: one a core).")]
FailBelowOption = Annotated[
    float | None,
    typer.Option(
        help="Exit 1 when the metric on the target (without labels: the top-1 agreement of simulation and target) "
        "is below this, e.g. 0.9."
    ),
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="YAML file with the preprocessing of an image folder.")
]
ImageSizeOption = Annotated[str | None, typer.Option(help="Size of images: 224 or HEIGHT,WIDTH.")]
ResizeOption = Annotated[int | None, typer.Option(min=1, help="Shorter side before the centre crop, pixels.")]
ScaleOption = Annotated[float | None, typer.Option(help="Factor for pixels 0..255, before mean (default 1/255).")]
MeanOption = Annotated[str | None, typer.Option(help="Subtracted from scaled pixels: 0.5 or R,G,B.")]
StdOption = Annotated[str | None, typer.Option(help="Divides the difference: 0.5 or R,G,B.")]
LayoutOption = Annotated[str | None, typer.Option(help="NCHW or NHWC (default: by the input's shape).")]
ColorOption = Annotated[str | None, typer.Option(help="RGB, BGR or GRAY.")]


def parse_shapes(texts: Sequence[str] | None) -> dict[str, list[int | str]] | None:
    """ "x=1,3,320,320" -> {"x": [1, 3, 320, 320]}; words are symbols. Raises InputError showing the form."""
    if not texts:
        return None
    shapes: dict[str, list[int | str]] = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        parts = [part.strip() for part in dims.split(",")]
        if not equals or not name or not all(parts):
            raise InputError(f"--shape {text} is not of the form NAME=1,3,320,320; correct it")
        shapes[name] = [_dimension(part, text) for part in parts]
    return shapes


def _dimension(part: str, text: str) -> int | str:
    if part.lstrip("-").isdigit():
        return int(part)
    if part.isidentifier():
        return part
    raise InputError(f"--shape {text}: '{part}' is neither a whole number nor a name; write NAME=1,3,320,320")


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
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no image spec {path}; check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"image spec {path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise InputError(f"image spec {path} must map keys (size, mean, std ...) to values")
    return values


def metric_name(text: str) -> str | None:
    """The metric's name, None for "none"."""
    return None if text.lower() == "none" else text


def check_threshold(report: dict[str, Any], threshold: float | None) -> None:
    """Raise ThresholdMissed when ``report`` is below ``threshold``, InputError when it has nothing to compare."""
    if threshold is None:
        return
    value, what = report["metrics"]["target"], f"{report['metric']} on {report['target']}"
    if value is None:
        agreements = [o["top1_agreement_sim_target"] for o in report["outputs"]]
        known = [a for a in agreements if a is not None]
        if not known:
            raise InputError("--fail-below has nothing to compare: give labelled data, or a network that classifies")
        value, what = min(known), "top-1 agreement of simulation and target"
    if value < threshold:
        raise ThresholdMissed(f"the {what} is {value:.4g}, below the threshold of {threshold:g}")
