"""README.md of a bundle: this model, this platform, the commands."""

from __future__ import annotations

from collections.abc import Sequence

from hexaquant.bundle.card import ModelCard, Picture
from hexaquant.bundle.platforms import RELEASE, Platform, wheel_command
from hexaquant.qnn.tensor_io import TensorSpec

QAIRT = "2.51"
"""Version of Qualcomm's SDK that the wheel's libraries come from."""


def readme(card: ModelCard, platform: Platform, platform_tag: str) -> str:
    """The whole text; ``platform_tag``: e.g. "hexaquant 0.1.0"."""
    parts = [
        f"# {card.binary.name} on {platform.title}\n\n"
        f"Made by {platform_tag}: scheme {card.scheme}, compiled for {card.target}. It runs on that SoC only; other "
        "SoCs need a binary of their own.",
        _io(card),
        _preprocessing(card.image),
        _labels(card),
        _libraries(card, platform),
        _build(platform),
        _run(card, platform),
        _own_program(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _io(card: ModelCard) -> str:
    head = "| name | shape | stored as | value of a stored q | range |\n|---|---|---|---|---|"
    inputs, outputs = ("\n".join([head, *(_row(spec) for spec in specs)]) for specs in (card.inputs, card.outputs))
    return (
        "## Inputs and outputs\n\nFiles are raw: row-major, little-endian, no header. Programs take float32 and give "
        "float32; with `--stored` they take and give what the binary stores, as below.\n\n"
        f"Inputs:\n\n{inputs}\n\nOutputs:\n\n{outputs}"
    )


def _row(spec: TensorSpec) -> str:
    shape = " x ".join(map(str, spec.shape)) or "one number"
    if spec.scale is None:
        return f"| `{spec.name}` | {shape} | {spec.dtype} | q | |"
    low, high = ((q + spec.offset) * spec.scale for q in _limits(spec))
    value = f"(q {spec.offset:+d}) * {spec.scale:.9g}"
    span = f"{low:.6g} .. {high:.6g}"
    return f"| `{spec.name}` | {shape} | {spec.dtype} | {value} | {span} |"


def _limits(spec: TensorSpec) -> tuple[int, int]:
    bits = 8 * spec.dtype.itemsize
    return (0, 2**bits - 1) if spec.dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _preprocessing(image: Picture | None) -> str:
    head = "## Preprocessing\n\n"
    if image is None:
        return (
            head + "Not recorded: give the inputs as the network was trained and calibrated (make the bundle with "
            "`--images preprocessing.yaml` to have it here and in the C program)."
        )
    spec = image.spec
    size = f"{image.height} x {image.width}"
    fit = (
        f"resize the image to {size}"
        if spec.resize is None
        else f"resize the shorter side to {spec.resize} and cut {size} from the centre"
    )
    return (
        head + f"{fit} (height x width, {spec.interpolation}); order {spec.color}; (pixel * {spec.scale:.9g} - "
        f"{_numbers(spec.mean)}) / {_numbers(spec.std)}; layout {image.layout}. Resizing is the application's; "
        "`classify` does the rest."
    )


def _numbers(values: Sequence[float]) -> str:
    return f"{values[0]:.9g}" if len(values) == 1 else "[" + ", ".join(f"{v:.9g}" for v in values) + "]"


def _labels(card: ModelCard) -> str:
    if card.labels is None:
        return ""
    return f"## Labels\n\n`labels.txt`: {len(card.labels)} class names, the first is class 0 (`{card.labels[0]}`)."


def _libraries(card: ModelCard, platform: Platform) -> str:
    files = "\n".join(f"* `{name}`" for name in platform.library_files(card.target.arch))
    where = (
        f"the wheel `onnxruntime-qnn=={RELEASE}` (a wheel is a zip file; the libraries are in `onnxruntime_qnn/`"
        f", what they need beside them in `onnxruntime_qnn.libs/`):\n\n    {wheel_command(platform)}\n\n"
        f"or Qualcomm's AI Runtime SDK (QAIRT) {QAIRT} or later."
        if platform.wheel
        else f"Qualcomm's AI Runtime SDK (QAIRT) {QAIRT} or later: `lib/aarch64-android/` and, for the Skel, "
        f"`lib/hexagon-v{card.target.arch}/unsigned/`."
    )
    skel = (
        "\n\nThe Skel library runs on the NPU itself; the system looks for it in the folders that the environment "
        "variable `ADSP_LIBRARY_PATH` names."
        if platform.npu
        else "\n\nHere they emulate the NPU: the numbers are the NPU's, the times are not. They need `libatomic1`."
    )
    return (
        "## Qualcomm's libraries\n\nThey are Qualcomm's, under Qualcomm's licence, and not part of this folder. Put "
        f"into a folder `lib/` beside this file:\n\n{files}\n\nThey come from {where}{skel}"
    )


_BUILD = {
    "host": "cmake -S c -B build && cmake --build build",
    "linux-arm64": "cmake -S c -B build -DCMAKE_TOOLCHAIN_FILE=../toolchains/aarch64-linux-gnu.cmake && "
    "cmake --build build",
    "android": "ANDROID_NDK_HOME=/path/to/ndk cmake -S c -B build -DCMAKE_TOOLCHAIN_FILE=../toolchains/android.cmake "
    "&& cmake --build build",
    "windows-arm64": "cmake -S c -B build -A ARM64 && cmake --build build --config Release",
}


def build_commands(platform: Platform) -> str:
    """The command line that builds the C programs."""
    return _BUILD[platform.name]


def _build(platform: Platform) -> str:
    more = {
        "windows-arm64": "\n\n(Visual Studio; from Linux: `-DCMAKE_TOOLCHAIN_FILE=../toolchains/windows-arm64.cmake`.)",
        "linux-arm64": "\n\nOn the board itself, without the toolchain file.",
    }.get(platform.name, "")
    return f"## Build\n\n    {build_commands(platform)}\n\nmakes `build/hexaquant_run` and `build/classify`.{more}"


def _run(card: ModelCard, platform: Platform) -> str:
    names = " ".join(f"{spec.name}:=input{index}.raw" for index, spec in enumerate(card.inputs))
    if platform.name == "windows-arm64":
        return (
            "## Run\n\n    set ADSP_LIBRARY_PATH=lib\n    build\\Release\\hexaquant_run --libraries lib "
            f"--input-list list.txt --output results\n\nwith lines like `{names}` in list.txt. "
            "The Python runner does not run on Windows."
        )
    copy = (
        "    adb push . /data/local/tmp/model && adb shell\n    cd /data/local/tmp/model\n"
        if platform.name == "android"
        else ""
    )
    adsp = '    export LD_LIBRARY_PATH=$PWD/lib ADSP_LIBRARY_PATH="$PWD/lib"\n' if platform.npu else ""
    python = " " if platform.name == "android" else _python_command()
    return (
        f"## Run\n\n{copy}{adsp}    build/hexaquant_run --libraries lib --input-list list.txt --output results\n"
        f"    build/classify --libraries lib image.ppm\n\nwith lines like `{names}` in list.txt; each result is a file "
        f"`results/Result_<n>/<output>.raw`. `--profile FILE --level detailed` measures.{python}The SHA-256 of every "
        "file is in manifest.json, and both programs refuse a binary that is not the recorded one."
    )


def _python_command() -> str:
    return (
        " Without a compiler, with Python and numpy:\n\n    python3 python/run.py --libraries lib --input-list "
        "list.txt --output results\n\n"
    )


def _own_program() -> str:
    return (
        "## In your own program\n\nAdd `c/hexaquant_runtime.c` and `c/hq_*.c` to it (or link "
        "`libhexaquant_runtime.a`), include `hexaquant_runtime.h`, which says how, and see "
        "`classify.c`. Calls from several threads are safe."
    )
