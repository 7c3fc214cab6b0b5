"""The quantized decoder as a folder holds it: written once by quantize, read back by everything after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.core.errors import EncodingError
from hexaquant.folder.manifest import read_manifest, verify_files
from hexaquant.io.encodings_file import write_encodings
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.graph import Graph
from hexaquant.llm.feeds import Run
from hexaquant.llm.graphs import Form, graph_name
from hexaquant.llm.static_decoder import Shapes
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan_json import plan_from_json

ENCODINGS = "model.encodings"


def onnx_file(shapes: Shapes) -> str:
    """File name of a graph's float ONNX, with the weights and operators that the encodings are of."""
    return f"{graph_name(shapes)}.onnx"


def qdq_file(shapes: Shapes) -> str:
    """File name of a graph with its encodings as QuantizeLinear and DequantizeLinear."""
    return f"{graph_name(shapes)}.qdq.onnx"


def write_simulation(model: QuantizedModel, shapes: Shapes, folder: Path, encodings_file: bool) -> list[str]:
    """Write the ONNX files of ``model`` (and the encodings, which are those of all graphs); returns their names."""
    graph = model.exported_graph()
    encodings = model.encodings()
    graph.save(folder / onnx_file(shapes))
    to_qdq(graph, encodings, bypass=model.bypassed()).save(folder / qdq_file(shapes))
    names = [onnx_file(shapes), qdq_file(shapes)]
    if encodings_file:
        params = [p.name for p in model.plan if p.name in encodings and p.role in ("weight", "bias", "constant")]
        activations = [name for name in encodings if name not in set(params)]
        write_encodings(folder / ENCODINGS, encodings, activations=activations, params=params, graph=graph)
        names.append(ENCODINGS)
    return names


def read_simulation(folder: Path, shapes: Shapes) -> QuantizedModel:
    """The simulation of the graph for ``shapes``, quantizers on. Raises InputError when its files are damaged."""
    verify_files(folder, [onnx_file(shapes), qdq_file(shapes)])
    graph = Graph(oir.load(folder / onnx_file(shapes)), onnx_file(shapes))
    plan = plan_from_json(read_manifest(folder).sections.get("plan", {}))
    _, encodings = from_qdq(Graph(oir.load(folder / qdq_file(shapes)), qdq_file(shapes)))
    model = QuantizedModel(graph, plan)
    missing = model.set_encodings(encodings)
    if missing:
        raise EncodingError(f"{qdq_file(shapes)} has no encoding for '{missing[0]}': quantize the model again")
    return model


def runner(model: QuantizedModel, form: Form) -> Run:
    """A function from inputs by name to outputs by name."""
    names = form.input_names()

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = model(*[torch.as_tensor(inputs[name]) for name in names])
        return {name: tensor.numpy() for name, tensor in zip(form.output_names(), outputs)}

    return run
