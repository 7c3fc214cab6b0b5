"""The graphs of a quantized decoder to one context binary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hexaquant.analysis.coverage import Coverage, prove_coverage
from hexaquant.core.events import Events
from hexaquant.htp.soc import Target
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.llm.graphs import graph_name
from hexaquant.llm.static_decoder import Shapes
from hexaquant.qnn.compile import CompileReport, GraphSource, compile_graphs
from hexaquant.qnn.lower import LowerReport, lower
from hexaquant.sim.model import QuantizedModel


@dataclass(frozen=True)
class Lowered:
    """One graph as a DLC, with the proof that every encoding arrived."""

    shapes: Shapes
    report: LowerReport
    coverage: Coverage


def lower_graph(model: QuantizedModel, shapes: Shapes, folder: Path, target: Target, events: Events) -> Lowered:
    """Write ``<graph>.dlc`` into ``folder``. Raises TargetError naming what the target refuses or did not take over."""
    name = graph_name(shapes)
    qdq = to_qdq(model.exported_graph(), model.encodings(), bypass=model.bypassed())
    source = folder / f"{name}.qdq.onnx"
    qdq.save(source)
    events.note("lower", f"lowering {name} for {target}")
    report = lower(source, folder / f"{name}.dlc", target.model, target.arch)
    coverage = prove_coverage(qdq, report)
    coverage.require_complete()
    return Lowered(shapes, report, coverage)


def compile_decoder(lowered: Sequence[Lowered], binary: Path, target: Target, o_level: int = 3) -> CompileReport:
    """All graphs in one ``binary``."""
    sources = [GraphSource(one.report.path, graph_name(one.shapes), o_level) for one in lowered]
    return compile_graphs(sources, binary, target.model, target.arch)
