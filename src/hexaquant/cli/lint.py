"""``hexaquant lint``: the target's verdict on every layer, before any calibration."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.model import load_model

if TYPE_CHECKING:
    from hexaquant.api.lint import Lint
    from hexaquant.targets.check import Judgement

EPILOG = """Examples:

\b
  hexaquant lint net.onnx --target sm8650 --scheme w8a16
  hexaquant lint model.py:build --target qcs6490 --overrides mixed.yaml --json

Exit code 3 when the target refuses a layer or computes it wrongly. Verdicts were measured on Qualcomm's emulator."""


def lint(
    context: typer.Context,
    model: o.ModelArgument,
    target: o.TargetOption = "sm8650",
    scheme: o.SchemeOption = "w8a8",
    overrides: o.OverridesOption = None,
    shape: o.ShapeOption = None,
    json: o.JsonOption = False,
) -> None:
    """What the target says to each layer: runs, or is refused for which reason, and what to do."""
    console: Console = context.obj
    shapes = o.parse_shapes(shape)
    from hexaquant.api.lint import lint as lint_model

    done = lint_model(load_model(model, shapes), target=target, scheme=scheme, overrides=overrides)
    for warning in done.warnings:
        console.warn(warning)
    console.result(document(done), lambda: rows(done), lambda: summary(done))
    done.require_legal()


def document(done: Lint) -> dict[str, Any]:
    """The JSON document: counts of verdicts and one entry a layer."""
    return {
        "kind": "lint",
        "model": done.source,
        "target": done.target.name,
        "architecture": done.target.arch_name,
        "scheme": done.scheme.name,
        "measured_with": f"onnxruntime-qnn {done.release}",
        "counts": dict(Counter(judgement.status for judgement in done.judgements)),
        "scheme_problem": done.scheme_problem,
        "warnings": list(done.warnings),
        "layers": [_entry(judgement) for judgement in done.judgements],
    }


def _entry(judgement: Judgement) -> dict[str, str]:
    layer = judgement.layer
    return {
        "layer": layer.module or layer.node,
        "source": layer.source,
        "node": layer.node,
        "operator": judgement.op_type,
        "scheme": judgement.scheme,
        "verdict": judgement.status,
        "reason": judgement.reason,
        "remedy": judgement.remedy,
    }


def rows(done: Lint) -> Any:
    """One row a layer."""
    title = f"{done.source} for {done.target}"
    cells = [_cells(_entry(judgement)) for judgement in done.judgements]
    return table(title, ["layer", "operator", "scheme", "verdict", "reason and remedy"], cells)


def _cells(entry: dict[str, str]) -> list[str]:
    where = f"{entry['layer']} ({entry['source']})" if entry["source"] else entry["layer"]
    why = "; ".join(text for text in (entry["reason"], entry["remedy"]) if text)
    return [where, entry["operator"], entry["scheme"], entry["verdict"], why]


def summary(done: Lint) -> str:
    """ "12 layers: 11 legal, 1 refused"."""
    counts = Counter(judgement.status for judgement in done.judgements)
    unknown = " (unknown: not measured, only the backend knows)" if counts["unknown"] else ""
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{len(done.judgements)} layers: {told}{unknown}"
