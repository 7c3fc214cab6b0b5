"""The graphs of a quantized decoder to one context binary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as oir

from hexaquant.analysis.coverage import Coverage, prove_coverage
from hexaquant.core.errors import TargetError
from hexaquant.core.events import Events
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.llm.graphs import graph_name
from hexaquant.llm.simulation import qdq_file
from hexaquant.llm.static_decoder import Shapes
from hexaquant.qnn.compile import CompileReport, GraphSource, compile_graphs
from hexaquant.qnn.lower import LowerReport, lower


@dataclass(frozen=True)
class Lowered:
    """One graph as a DLC, with the proof that every encoding arrived."""

    shapes: Shapes
    report: LowerReport
    coverage: Coverage


def lower_graph(folder: Path, shapes: Shapes, target: Target, events: Events) -> Lowered:
    """Write ``<graph>.dlc`` beside the graph's QDQ file.

    Raises TargetError naming what the target refuses or did not take over.
    """
    source = folder / qdq_file(shapes)
    events.note("lower", f"lowering {graph_name(shapes)} for {target}")
    report = lower(source, folder / f"{graph_name(shapes)}.dlc", target.model, target.arch)
    coverage = prove_coverage(Graph(oir.load(source), source.name), report)
    coverage.require_complete()
    return Lowered(shapes, report, coverage)


def same_weights(lowered: Sequence[Lowered]) -> str:
    """A sentence that all graphs carry the same encodings. Raises TargetError naming a tensor where they differ.

    So that one copy of the weights serves them, and one's cache is the other's.
    """
    first, *others = lowered
    asked = {row.tensor: row.has for row in first.coverage.rows if row.tensor}
    for other in others:
        for row in other.coverage.rows:
            if row.tensor in asked and asked[row.tensor] != row.has:
                raise TargetError(
                    f"'{row.tensor}' has {asked[row.tensor]} in {graph_name(first.shapes)} but {row.has} in "
                    f"{graph_name(other.shapes)}: they cannot share weights and cache"
                )
    return f"{len(asked)} tensors have the same encodings in {len(lowered)} graphs"


def compile_decoder(
    lowered: Sequence[Lowered], binary: Path, target: Target, o_level: int = 3, *, share_weights: bool = False
) -> CompileReport:
    """All graphs in one ``binary``."""
    sources = [GraphSource(one.report.path, graph_name(one.shapes), o_level) for one in lowered]
    return compile_graphs(sources, binary, target.model, target.arch, share_weights=share_weights)
