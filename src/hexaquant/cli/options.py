"""Arguments and options that several commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.core.errors import InputError, ThresholdMissed
from hexaquant.htp.soc import DEFAULT_TARGET as DEFAULT_TARGET

MODEL_HELP = (
    "An .onnx or .pt2 file, or module:function or file.py:function that returns (nn.Module, example_inputs). "
    "The latter executes that Python code, as importing it does."
)
DATA = "Data"
TARGET = "Target and quantization"
CHECKS = "Verification"
OUTPUT = "Output"
"""Headings of ``--help``; what has none stands under "Options"."""


def option(heading: str, *words: Any, **more: Any) -> Any:
    """A typer.Option under ``heading``."""
    return typer.Option(*words, rich_help_panel=heading, **more)


DATA_FORMS = ".npz, .npy, input_list.txt, a folder of images, or module:function (which is executed)"

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
FolderArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Artifact folder of deploy or quantize.")]
OutOption = Annotated[Path, option(OUTPUT, "-o", "--output", metavar="OUT", help="Artifact folder to write.")]
DataOption = Annotated[str | None, option(DATA, "--data", help=f"Calibration data: {DATA_FORMS}.")]
SamplesOption = Annotated[str, option(DATA, "--data", help=f"Samples: {DATA_FORMS}.", show_default=False)]


def _targets(begun: str) -> list[str]:
    """What the shell completes after --target."""
    from hexaquant.htp.soc import TARGETS

    return [target.name for target in TARGETS if target.name.startswith(begun.lower())]


def _schemes(begun: str) -> list[str]:
    from hexaquant.htp.scheme import SCHEMES

    return [name for name in SCHEMES if name.startswith(begun.lower())]


def _recipes(begun: str) -> list[str]:
    return [name for name in ("fast", "best", "plain") if name.startswith(begun)]


TargetOption = Annotated[
    str,
    option(
        TARGET,
        autocompletion=_targets,
        help='SoC (sm8650 ...), architecture (v75), product or device ("Snapdragon 8 Gen 3").',
    ),
]
SchemeOption = Annotated[
    str, option(TARGET, autocompletion=_schemes, help="w8a8 (int8), w8a16, w4a8, w4a16, w16a16 or fp16.")
]
RecipeOption = Annotated[
    str,
    option(
        TARGET,
        autocompletion=_recipes,
        help="fast (seconds), best (minutes), plain (min-max ranges), or a recipe file (.yaml).",
    ),
]
OverridesOption = Annotated[Path | None, option(TARGET, help="YAML file: tensor or layer glob -> scheme or settings.")]
ShapeOption = Annotated[
    list[str] | None,
    option(DATA, "--shape", help="Shape of an input, NAME=1,3,320,320; repeat for more inputs."),
]
InputOption = Annotated[
    list[str] | None,
    option(DATA, "--input", help="An input that becomes a constant, NAME=VALUE such as sr=16000; repeat for more."),
]
StateOption = Annotated[
    list[str] | None,
    option(
        DATA,
        "--state",
        help="Recurrent state INPUT=OUTPUT, such as h=hn: the state of each sample is the last one's output; "
        "repeat for more.",
    ),
]
SplitOption = Annotated[
    bool,
    option(
        DATA,
        "--split-outputs",
        help="Operands of a Concat that is an output (boxes and scores) become outputs of their own, each on its grid.",
    ),
]
StrictOption = Annotated[
    bool, option(CHECKS, "--strict", help="Exit 1 when a warning says that data or figures make no sense.")
]
VersionOption = Annotated[str, option(OUTPUT, help="Version of model.encodings: 0.6.1, 1.0.0 or 2.0.0.")]
RandomOption = Annotated[
    bool,
    option(DATA, "--random-data", help="Calibrate on random noise (to try the pipeline; accuracy is meaningless)."),
]
ForceOption = Annotated[bool, option(OUTPUT, "--force", help="Rebuild even if OUT is up to date.")]
NoCheckOption = Annotated[
    bool,
    option(TARGET, "--no-check", help="Skip the run that holds each binary against onnxruntime."),
]
CorrectOption = Annotated[
    bool,
    option(TARGET, "--correct-on-target", help="Run the result on the target and correct the biases by it."),
]
JsonOption = Annotated[bool, option(OUTPUT, "--json", help="Print one JSON document on stdout instead of tables.")]
MetricOption = Annotated[str, option(CHECKS, help="top1, top5, module:function (executed), or none.")]
LimitOption = Annotated[int | None, option(CHECKS, min=1, help="Verify on the first N samples only.")]
WorkersOption = Annotated[int | None, option(CHECKS, min=1, help="Emulator processes (default: one per core).")]
FailBelowOption = Annotated[
    float | None,
    option(
        CHECKS,
        help="Exit 1 when the metric on the target (without labels: the top-1 agreement of simulation and target) "
        "is below this, e.g. 0.9.",
    ),
]


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


def parse_inputs(texts: Sequence[str] | None) -> dict[str, Any]:
    """ "sr=16000", "flags=1,0" -> numbers or lists by input. Raises InputError showing the form."""
    fixed: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        words = {"true": 1.0, "false": 0.0}
        try:
            numbers = [words[part.lower()] if part.lower() in words else float(part) for part in value.split(",")]
        except ValueError:
            numbers = []
        if not equals or not name or not numbers:
            raise InputError(f"--input {text} is not of the form NAME=16000 or NAME=1,0; correct it")
        whole = [int(number) if number.is_integer() else number for number in numbers]
        fixed[name] = whole[0] if len(whole) == 1 else whole
    return fixed


def parse_states(texts: Sequence[str] | None) -> dict[str, str]:
    """ "h=hn" -> {"h": "hn"}. Raises InputError showing the form."""
    states = {}
    for text in texts or ():
        state, equals, output = text.partition("=")
        if not equals or not state or not output:
            raise InputError(f"--state {text} is not of the form INPUT=OUTPUT, such as h=hn; correct it")
        states[state] = output
    return states


def _dimension(part: str, text: str) -> int | str:
    if part.lstrip("-").isdigit():
        return int(part)
    if part.isidentifier():
        return part
    raise InputError(f"--shape {text}: '{part}' is neither a whole number nor a name; write NAME=1,3,320,320")


def metric_name(text: str) -> str | None:
    """The metric's name, None for "none"."""
    return None if text.lower() == "none" else text


def check_strict(strict: bool, doubts: Sequence[str]) -> None:
    """Raise ThresholdMissed with --strict when a warning said that data or figures make no sense."""
    if strict and doubts:
        more = f" (and {len(doubts) - 1} more)" if len(doubts) > 1 else ""
        raise ThresholdMissed(f"--strict: {doubts[0]}{more}")


def check_threshold(report: dict[str, Any], threshold: float | None) -> None:
    """Raise ThresholdMissed when ``report`` is below ``threshold``, InputError when it has nothing to compare."""
    if threshold is None:
        return
    value = report["metrics"]["target"]
    what = f"{report['metric']} on {report['target']}"
    if value is None:
        agreements = [o["top1_agreement_sim_target"] for o in report["outputs"]]
        known = [a for a in agreements if a is not None]
        if not known:
            raise InputError("--fail-below has nothing to compare: give labelled data, or a network that classifies")
        value = min(known)
        what = "top-1 agreement of simulation and target"
    if value < threshold:
        raise ThresholdMissed(f"the {what} is {value:.4g}, below the threshold of {threshold:g}")
