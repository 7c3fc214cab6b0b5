"""The converter's process: ``python -m hexaquant.frontends.tensorflow_child`` reads one JSON job from stdin.

A job names what to convert, the ONNX file to write and the JSON file for the result: ``{"layers": [...]}`` or
``{"error": ..., "kind": ...}``. TensorFlow's messages go to stderr, its memory ends with this process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, UnsupportedOpError
from hexaquant.frontends.traced_folder import read_traced


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    os.dup2(2, 1)
    Path(job["result"]).write_text(json.dumps(perform(job)))


def perform(job: dict[str, Any]) -> dict[str, Any]:
    """Convert and describe the result; expected errors become part of it."""
    try:
        return JOBS[job["kind"]](job)
    except ModuleNotFoundError as error:
        extra = "keras" if job["kind"] == "keras" else "tensorflow"
        return {"error": f"the import needs {error.name}; install hexaquant[{extra}]", "kind": "EnvironmentLacksError"}
    except (EnvironmentLacksError, UnsupportedOpError) as error:
        return {"error": str(error), "kind": type(error).__name__}
    except HexaquantError as error:
        return {"error": str(error), "kind": "InputError"}


def _keras(job: dict[str, Any]) -> dict[str, Any]:
    from hexaquant.frontends.keras_torch import export_keras, open_keras

    graph = export_keras(open_keras(Path(job["path"])), job["source"], job["shapes"], parameters=job["parameters"])
    graph.save(Path(job["onnx"]))
    return {"layers": []}


def _graph_def(job: dict[str, Any]) -> dict[str, Any]:
    from hexaquant.frontends.tensorflow_sources import open_graph_def

    return _write(open_graph_def(Path(job["path"]), job["inputs"], job["outputs"]), job)


def _saved_model(job: dict[str, Any]) -> dict[str, Any]:
    from hexaquant.frontends.tensorflow_sources import open_saved_model

    return _write(open_saved_model(Path(job["path"])), job)


def _traced(job: dict[str, Any]) -> dict[str, Any]:
    return _write(read_traced(Path(job["path"])), job)


def _write(traced: Any, job: dict[str, Any]) -> dict[str, Any]:
    import onnx

    from hexaquant.frontends.tensorflow_to_onnx import convert_traced

    onnx.save(convert_traced(traced, job["source"]), job["onnx"])
    return {"layers": list(traced.layers)}


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "keras": _keras,
    "graph_def": _graph_def,
    "saved_model": _saved_model,
    "traced": _traced,
}

if __name__ == "__main__":
    main()
