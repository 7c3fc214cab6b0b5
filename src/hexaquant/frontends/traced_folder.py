"""A Traced graph in a folder, on its way from the user's process to the converter's: never pickle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hexaquant.frontends.keras_trace import Traced


def write_traced(traced: Traced, folder: Path) -> None:
    """Write graph.pb, parameters.npz and names.json into ``folder``."""
    (folder / "graph.pb").write_bytes(traced.graph_def)
    np.savez(folder / "parameters.npz", *traced.parameters.values())
    names = {"inputs": traced.inputs, "outputs": traced.outputs, "layers": traced.layers}
    (folder / "names.json").write_text(json.dumps({**names, "parameters": list(traced.parameters)}))


def read_traced(folder: Path) -> Traced:
    """What :func:`write_traced` wrote."""
    names = json.loads((folder / "names.json").read_text())
    with np.load(folder / "parameters.npz", allow_pickle=False) as arrays:
        parameters = {name: arrays[f"arr_{i}"] for i, name in enumerate(names["parameters"])}
    return Traced(
        (folder / "graph.pb").read_bytes(),
        tuple((tensor, name) for tensor, name in names["inputs"]),
        tuple((tensor, name) for tensor, name in names["outputs"]),
        parameters,
        tuple(names["layers"]),
    )
