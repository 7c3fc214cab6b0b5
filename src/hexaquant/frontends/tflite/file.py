"""Frontend for ``.tflite`` files: no TensorFlow, no other package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hexaquant.core.errors import InputError
from hexaquant.frontends.tensorflow_graph import LAYOUT, name_batch
from hexaquant.frontends.tflite.convert import convert
from hexaquant.frontends.tflite.flatbuffer import DamagedFile
from hexaquant.frontends.tflite.model_file import read_subgraphs
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.states import with_states

TFLITE = b"TFL3"
"""The identifier of TFLite's schema, bytes 4 to 7 of a file (its FlatBuffers schema)."""
Shapes = Mapping[str, Sequence[int | str]]


def from_tflite(path: str | Path, shapes: Shapes | None = None) -> Graph:
    """The normalized graph of a ``.tflite`` file. A quantized one keeps its encodings as QDQ nodes; variables of a
    streaming one are states: inputs, and outputs NAME_next.

    Raises InputError for a file that is none or damaged, UnsupportedOpError naming the operator and its output.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    data = path.read_bytes()
    if data[4:8] != TFLITE:
        raise InputError(f"{path}: this is no .tflite file (or it is damaged); convert the model again")
    try:
        subgraphs = read_subgraphs(data)
        if not subgraphs:
            raise DamagedFile("it has no network")
    except (DamagedFile, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: the .tflite file is damaged ({error}); convert the model again") from error
    graph, states = convert(subgraphs, path.name, shapes or {})
    name_batch(graph, shapes or {})
    return with_states(normalize(graph, shapes, LAYOUT), states)
