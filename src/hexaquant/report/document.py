"""The report's data: what the page shows as text, and the JSON that its script draws from."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir as oir

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import HexaquantError
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph
from hexaquant.report.headline import Headline, headline
from hexaquant.report.language import Language, language
from hexaquant.report.network import Network, bits_of, read_network, tensor_cards
from hexaquant.report.schema import LintFinding
from hexaquant.report.sources import Sources
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.plan_json import plan_from_json

# The pipeline's steps, each with what it gained, from what the steps recorded about themselves.


@dataclass(frozen=True)
class Step:
    """``gain``: change of the held-out SQNR in dB, where it was measured; ``seconds``: None where not recorded."""

    name: str
    verdict: str
    text: str
    gain: float | None = None
    seconds: float | None = None


def pipeline(sources: Sources) -> list[Step]:
    """Quantization's steps, then training, lowering and compiling."""
    sections = sources.sections
    recorded = sections.get("quantization", {}).get("steps", [])
    steps = [_quantization(step) for step in recorded if isinstance(step, Mapping)]
    for name, section in sections.items():
        if isinstance(section, Mapping) and (name == "lower" or name.startswith("compile ")):
            steps.append(_conversion(name, section))
    return steps


def _quantization(step: Mapping[str, Any]) -> Step:
    details = step.get("details") or {}
    found = details.get("held_out")
    layers = details.get("layers") or []
    held = found if isinstance(found, Mapping) else {}  # correct on target counts its held-out samples there
    before = held.get("sqnr_before")
    after = held.get("sqnr_after")
    if isinstance(details.get("sqnr"), list) and isinstance(details.get("kept"), int):  # correct on target
        before = details["sqnr"][0]
        after = details["sqnr"][details["kept"]]
    gain = None if before is None or after is None else round(after - before, 3)
    told = [f"held-out SQNR {before:.2f} to {after:.2f} dB"] if gain is not None else []
    told += [f"{details['steps']} training steps"] if isinstance(details.get("steps"), int) else []
    told += [str(held["reason"])] if held.get("reason") else []
    told += _layer_words(layers) + _observer_words(details)
    if step.get("samples"):
        told.append(f"{step['samples']} samples")
    return Step(str(step.get("step", "")), held.get("verdict", "done"), "; ".join(told), gain, step.get("seconds"))


def _layer_words(layers: list[Mapping[str, Any]]) -> list[str]:
    """ "34 layers, error down 12 % (median)"."""
    if not layers:
        return []
    shares = [
        1 - layer["mse_after"] / layer["mse_before"]
        for layer in layers
        if isinstance(layer, Mapping) and layer.get("mse_before") and layer.get("mse_after") is not None
    ]
    count = f"{len(layers)} layer" + ("s" if len(layers) != 1 else "")
    if not shares:
        return [count]
    share = 100 * statistics.median(shares)
    return [f"{count}, squared error {'down' if share >= 0 else 'up'} {abs(share):.1f} % (median)"]


def _observer_words(details: Mapping[str, Any]) -> list[str]:
    observer = details.get("observer") or details.get("name")
    weights = details.get("weight_observer")
    if not observer:
        return []
    return [f"activations by {observer}" + (f", weights by {weights}" if weights else "")]


def _conversion(name: str, section: Mapping[str, Any]) -> Step:
    if name == "lower":
        counts = section.get("coverage") or {}
        return Step("lower to DLC", "done", ", ".join(f"{n} {verdict}" for verdict, n in counts.items()),
                    seconds=section.get("seconds"))  # fmt: skip
    level = section.get("o_level")
    text = f"O{level}" if level else ""
    return Step(f"compile for {name.removeprefix('compile ')}", "done", text, seconds=section.get("seconds"))


# Findings of lint and debugger in one form, and which operator each is about.

BAD = ("refused", "wrong")
"""Verdicts of lint on a layer that are findings, where the file has no findings of its own."""
GRAVE = ("error", "refused", "wrong", "warning", "finding", "info")
"""Severities, the gravest first."""


@dataclass(frozen=True)
class Finding:
    """``node``: index of the operator in the drawing, None where it names none that is there."""

    by: str
    severity: str
    where: str
    text: str
    fix: str
    node: int | None

    def document(self) -> dict[str, Any]:
        return asdict(self)


def find_findings(sources: Sources, network: Network | None) -> list[Finding]:
    """Those of the debugger and of lint, the gravest first."""
    index = _Index(network)
    found = [
        Finding("debug", "finding", _where(f.origin or f.layer), f.text, f.fix or "", index.find(f.layer, f.tensor))
        for f in (sources.debug.findings if sources.debug else ())
    ]
    found += [_lint(entry, index) for entry in _lint_entries(sources)]
    return sorted(found, key=lambda f: GRAVE.index(f.severity) if f.severity in GRAVE else len(GRAVE))


def _lint_entries(sources: Sources) -> Iterable[LintFinding]:
    if sources.lint is None:
        return ()
    return sources.lint.findings or [entry for entry in sources.lint.layers if entry.verdict in BAD]


def _lint(entry: LintFinding, index: _Index) -> Finding:
    fields = entry.fields
    sentences = [entry.reason, *(str(fields.get(key) or "") for key in ("text", "why"))]
    cost = fields.get("cost_db")
    if isinstance(cost, int | float):
        sentences.append(f"quantized alone: {cost:.1f} dB SQNR of the outputs")
    text = ". ".join(sentence.rstrip(".") for sentence in sentences if sentence)
    fix = entry.remedy or str(fields.get("fix") or "")
    severity = str(fields.get("severity") or entry.verdict or "finding")
    where = entry.layer + (f" ({entry.source})" if entry.source else "")
    node = index.find(entry.node, str(fields.get("tensor") or ""), entry.layer)
    return Finding("lint", severity, where or entry.node, text, fix, node)


def _where(origin: str) -> str:
    return origin.removeprefix("layer ").replace("'", "")


class _Index:
    """Operators by name, tensor and module."""

    def __init__(self, network: Network | None) -> None:
        self._known: dict[str, int] = {}
        for index, node in enumerate(network.nodes if network else ()):
            for name in (*node.outputs, node.module, node.name):
                if name:
                    self._known.setdefault(name, index)

    def find(self, *names: str) -> int | None:
        return next((self._known[name] for name in names if name in self._known), None)


MODEL = "model.onnx"
QDQ = "model.qdq.onnx"


@dataclass(frozen=True)
class ReportData:
    """``figures``: JSON values for the script; the rest is what the template writes as text."""

    sources: Sources
    headline: Headline
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    figures: dict[str, Any]
    language: Language | None = None

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
    spoken, trouble = language(sources)
    problems = [text for text in (problem, trouble) if text]
    if problems:
        sources = replace(sources, problems=(*sources.problems, *problems))
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
    return ReportData(sources, headline(sources), tuple(pipeline(sources)), tuple(findings), figures, spoken)


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
