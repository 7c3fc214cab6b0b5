"""The report's data: what the page shows as text, and the JSON that its script draws from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as oir

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import HexaquantError
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph
from hexaquant.report.findings import Finding, find_findings
from hexaquant.report.headline import Headline, headline
from hexaquant.report.network import Network, bits_of, read_network
from hexaquant.report.sources import Sources
from hexaquant.report.steps import Step, pipeline
from hexaquant.report.tensors import tensor_cards
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.plan_json import plan_from_json

MODEL, QDQ = "model.onnx", "model.qdq.onnx"


@dataclass(frozen=True)
class ReportData:
    """``figures``: JSON values for the script; the rest is what the template writes as text."""

    sources: Sources
    headline: Headline
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    figures: dict[str, Any]

    @property
    def has_network(self) -> bool:
        return self.figures["network"] is not None


@dataclass(frozen=True)
class _Model:
    network: Network
    graph: Graph
    plan: QuantPlan | None
    encodings: Mapping[str, Encoding]


def report_data(sources: Sources) -> ReportData:
    """Everything that the page needs, from what ``sources`` has."""
    model, problem = _read_model(sources)
    if problem:
        sources = replace(sources, problems=(*sources.problems, problem))
    findings = find_findings(sources, model.network if model else None)
    figures: dict[str, Any] = {
        "network": None,
        "tensors": {},
        "findings": [finding.document() for finding in findings],
        "analysis": _analysis(sources),
        "debug": None if sources.debug is None else sources.debug.model_dump(exclude={"findings"}),
        "mixed": None if sources.mixed is None else sources.mixed.model_dump(),
        "auto": None if sources.auto is None else sources.auto.model_dump(),
    }
    if model is not None:
        figures["network"] = _network(model)
        figures["tensors"] = tensor_cards(sources, model.network, model.graph, model.plan, model.encodings)
    return ReportData(sources, headline(sources), tuple(pipeline(sources)), tuple(findings), figures)


def _read_model(sources: Sources) -> tuple[_Model | None, str]:
    """The network with its plan and encodings, and what is wrong where it cannot be read."""
    folder = sources.folder
    if not (folder / MODEL).is_file():
        return None, ""
    try:
        graph = Graph(oir.load(folder / MODEL), str(folder / MODEL))
        network = read_network(graph)
        plan = plan_from_json(sources.sections["plan"]) if "plan" in sources.sections else None
        encodings: Mapping[str, Encoding] = {}
        if (folder / QDQ).is_file():
            _, encodings = from_qdq(Graph(oir.load(folder / QDQ), str(folder / QDQ)))
    except HexaquantError as error:
        return None, str(error)
    except Exception as error:  # a damaged ONNX file fails in any way that a parser can
        return None, f"{MODEL} cannot be read ({type(error).__name__}: {error}); export the model again"
    return _Model(network, graph, plan, encodings), ""


def _network(model: _Model) -> dict[str, Any]:
    nodes = [
        {
            "name": node.name,
            "op": node.op,
            "title": node.title,
            "source": node.source,
            "in": node.inputs,
            "out": node.outputs,
            "weights": node.weights,
            "attributes": dict(node.attributes),
            "bits": bits_of(model.plan, (node.outputs or node.inputs)[0]) if node.outputs or node.inputs else "",
        }
        for node in model.network.nodes
    ]
    return {"nodes": nodes, **model.network.drawing()}


def _analysis(sources: Sources) -> dict[str, Any] | None:
    """Sensitivities; the statistics of tensors stand in their cards."""
    if sources.analysis is None:
        return None
    measured = [t.name for t in sources.analysis.tensors if t.histogram is not None]
    return sources.analysis.model_dump(exclude={"tensors"}) | {"histograms": measured}
