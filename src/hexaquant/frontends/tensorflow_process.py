"""Run one conversion in a child process: TensorFlow's seconds of start, its log lines and its memory stay there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.core.child_process import child_command, child_environment, scratch_folder
from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError, UnsupportedOpError, WorkerError
from hexaquant.ir.load import read_model

SECONDS = 1800
"""After how long a conversion is ended."""
KERAS = ("keras", "h5py")
NEEDED = ("tensorflow", "tf2onnx", "keras")
"""What the conversion of a Keras file needs, which runs on PyTorch, and what all others need."""
KINDS: dict[str, type[HexaquantError]] = {
    "InputError": InputError,
    "UnsupportedOpError": UnsupportedOpError,
    "EnvironmentLacksError": EnvironmentLacksError,
}


@dataclass(frozen=True)
class Conversion:
    """``model``: plain ONNX as tf2onnx wrote it; ``layers``: names of the Keras layers, if it came from Keras."""

    model: oir.Model
    layers: tuple[str, ...]


def require_packages(source: str, names: Sequence[str], extra: str) -> None:
    """Raise EnvironmentLacksError naming the ``extra`` when one of ``names`` is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentLacksError(
            f"{source}: importing it needs {' and '.join(missing)}; install it with: pip install 'hexaquant[{extra}]'"
        )


def run_conversion(kind: str, path: Path, source: str, **details: Any) -> Conversion:
    """Do the job ``kind`` of tensorflow_child.JOBS on ``path``. ``source`` names the model in messages.

    Raises what the job reports, or WorkerError when the process died or took longer than SECONDS.
    """
    if kind == "keras":
        require_packages(source, KERAS, "keras")
    else:
        require_packages(source, NEEDED, "tensorflow")
    with scratch_folder() as folder:
        job = {"kind": kind, "path": str(Path(path).resolve()), "source": source, "shapes": None, **details}
        job |= {"onnx": f"{folder}/model.onnx", "result": f"{folder}/result.json"}
        done = _run(job, source, folder)
        result = Path(job["result"])
        if done.returncode or not result.exists():
            told = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise WorkerError(f"{source}: the process that converts it ended with {done.returncode}: {' '.join(told)}")
        document = json.loads(result.read_text())
        if "error" in document:
            raise KINDS[document["kind"]](document["error"])
        return Conversion(read_model(Path(job["onnx"])), tuple(document["layers"]))


def _run(job: dict[str, Any], source: str, folder: str) -> subprocess.CompletedProcess[bytes]:
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "torch" if job["kind"] == "keras" else "tensorflow",
    }
    try:
        return subprocess.run(
            child_command("hexaquant.frontends.tensorflow_child"),
            input=json.dumps(job).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=child_environment(**settings),
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"{source}: the conversion took longer than {SECONDS} s and was ended") from error
