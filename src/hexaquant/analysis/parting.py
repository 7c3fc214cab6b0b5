"""The first layer at which the target parts from the quantized model, found by bisection.

The network is cut after its first k quantized tensors: a prefix whose outputs are all of these that the rest reads, so
that nothing wrong before the cut can hide. Prefixes are compiled and compared like the whole network; about log2 of
the number of layers are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.self_check import Expected, expect, run_binary
from hexaquant.core.errors import TargetError, WorkerError
from hexaquant.folder.manifest import amend_manifest
from hexaquant.htp.qdq_view import DEQUANTIZE, QUANTIZE
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.remove_unused import remove_unused
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower


@dataclass(frozen=True)
class Parting:
    """``layer``: the first whose output departs, in the user's words, with its operator; ``tensor``: that output, which
    has ``db`` against onnxruntime there."""

    layer: str
    tensor: str
    db: float


def find_parting(qdq: Graph, target: Target, samples: Sequence[Mapping[str, np.ndarray]]) -> Parting | None:
    """Where the target parts from ``qdq`` (static) on ``samples``; None where every prefix agrees, so that only the
    whole network departs."""
    marks = [node for node in qdq.nodes if _quantizes_computed(node)]
    good = -1
    bad = len(marks)
    found: dict[str, float] = {}
    while bad - good > 1:
        middle = (good + bad) // 2
        departures = _departures(_prefix(qdq, middle), target, samples)
        if departures:
            bad = middle
            found = departures
        else:
            good = middle
    if not found:
        return None
    first = marks[bad].outputs[0].name or ""
    tensor, db = (first, found[first]) if first in found else next(iter(found.items()))
    return Parting(_layer(qdq, tensor), tensor, db)


def _quantizes_computed(node: oir.Node) -> bool:
    """Whether ``node`` is the DequantizeLinear of a tensor that an operator computes."""
    stored = node.inputs[0] if node.op_type == DEQUANTIZE else None
    quantize = None if stored is None else stored.producer()
    computed = None if quantize is None or quantize.inputs[0] is None else quantize.inputs[0].producer()
    return computed is not None and computed.op_type not in (QUANTIZE, DEQUANTIZE)


def _prefix(qdq: Graph, last: int) -> Graph:
    """The network up to its quantized tensor number ``last``."""
    graph = qdq.clone()
    marks = [node for node in graph.nodes if _quantizes_computed(node)][: last + 1]
    inside = _before(marks)
    ends = {value.name for value in graph.outputs}
    live = [
        node.outputs[0]
        for node in marks
        if node is marks[-1]
        or node.outputs[0].name in ends
        or any(reader not in inside for reader in node.outputs[0].consumers())
    ]
    graph.model.graph.outputs.clear()
    graph.model.graph.outputs.extend(live)
    remove_unused(graph)
    used = [value for value in graph.inputs if list(value.uses())]
    graph.model.graph.inputs.clear()
    graph.model.graph.inputs.extend(used)
    return graph


def _before(nodes: Sequence[oir.Node]) -> set[oir.Node]:
    """``nodes`` and all on which they depend."""
    found: set[oir.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        makers = [value.producer() for value in node.inputs if value is not None]
        waiting += [maker for maker in makers if maker is not None]
    return found


def _departures(graph: Graph, target: Target, samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Output -> dB of those outputs of ``graph`` that the target computes otherwise; none where it cannot compile
    the prefix, which then tells nothing."""
    fed = [{value.name or "": sample[value.name or ""] for value in graph.inputs} for sample in samples]
    expected: Expected = expect(graph, fed)
    with tempfile.TemporaryDirectory(prefix="hexaquant-parting-") as name:
        folder = Path(name)
        graph.save(folder / "prefix.onnx")
        try:
            report = lower(folder / "prefix.onnx", folder / "prefix.dlc", target.model, target.arch)
            compile_dlc(folder / "prefix.dlc", folder / "prefix.bin", target.model, target.arch)
            amend_manifest(folder, files=["prefix.bin"], sections={"lower": {"io": report.io.names()}})
            return expected.departures(run_binary(folder / "prefix.bin", fed, target.model, None))
        except (TargetError, WorkerError):
            return {}


def _layer(qdq: Graph, tensor: str) -> str:
    value: oir.Value | None = qdq.value(tensor)
    node = None if value is None else value.producer()
    while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE):
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return tensor if node is None else f"{qdq.origin(node)}, {node.op_type}"
