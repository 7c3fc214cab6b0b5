"""``hexaquant lint``: what will hurt a network on the target, before any calibration."""

from __future__ import annotations

import json as json_module
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Loading

if TYPE_CHECKING:
    from hexaquant.analysis.lint.finding import Finding
    from hexaquant.analysis.lint.repair import Applied
    from hexaquant.api.lint import Lint
    from hexaquant.api.settings import Settings
    from hexaquant.htp.check import Judgement

EPILOG = """Examples:

\b
  hexaquant lint net.onnx --target sm8650 --scheme w8a16
  hexaquant lint model.py:build --target qcs6490 --data calib.npz --json
  hexaquant lint net.onnx --fix -o mended.onnx
  hexaquant lint out --data calib.npz --suppress long-tail:head.*

Exit code 3 when the target refuses a layer or computes it wrongly, 1 with --fail-on warning when a warning is left.
Verdicts were measured on Qualcomm's emulator. Rules: docs/insight.md."""

SAMPLES = 8
LINT = "lint.json"
"""Where the report of an artifact folder looks for the document."""
ENCODINGS_HELP = "Encodings to check: a file, or an artifact folder (which as MODEL brings its own)."
SHOWN_INFOS = 3
"""Infos of one rule that the table lists; the others it counts."""


@grouped
def lint(
    context: typer.Context,
    model: o.ModelArgument,
    target: o.TargetOption = o.DEFAULT_TARGET,
    scheme: o.SchemeOption = "w8a8",
    data: Annotated[str | None, typer.Option(help=f"A few samples: {o.DATA_FORMS}.")] = None,
    encodings: Annotated[Path | None, typer.Option(help=ENCODINGS_HELP)] = None,
    overrides: o.OverridesOption = None,
    loading: Loading = Loading(),
    samples: Annotated[int, typer.Option(min=1, help="Samples of --data that are looked at.")] = SAMPLES,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe, check it, and write -o.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The mended .onnx file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the JSON document to this file.")] = None,
    suppress: Annotated[list[str] | None, typer.Option(help="RULE or RULE:layer-glob; repeat.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with 'suppress' and 'severity'.")] = None,
    fail_on: Annotated[str, typer.Option(help="error, or warning: exit 1 when one is left.")] = "error",
    verbose: Annotated[bool, typer.Option("--verbose", help="Also say why a GELU or norm was not fused.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Also list every layer with its verdict.")] = False,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """What will hurt the network on the target, layer by layer: why, what it costs, and what to do."""
    console: Console = context.obj
    _check_options(fix, output, fail_on)
    network = loading.written(model)
    from hexaquant.analysis.lint.run import NAMES
    from hexaquant.analysis.lint.suppress import read_config
    from hexaquant.api.lint import lint as lint_model
    from hexaquant.api.lint import lint_and_fix

    options: dict[str, Any] = {"target": target, "scheme": scheme, "overrides": overrides}
    options["shapes"] = loading.left_shapes
    options |= {"data": data, "samples": samples, "images": images, "encodings": encodings}
    options["config"] = read_config(suppress or (), config, NAMES)
    repairs = None
    if fix and output is not None:
        mended = lint_and_fix(network, **options)
        done = mended.lint
        repairs = mended.repairs
        mended.graph.save(output)
    else:
        done = lint_model(network, **options)
    _show(console, done, repairs, output, layers, report, verbose)
    done.require_legal()
    if fail_on == "warning":
        done.require_clean()


def _check_options(fix: bool, output: Path | None, fail_on: str) -> None:
    from hexaquant.core.errors import InputError

    if fix != (output is not None):
        raise InputError("--fix and -o belong together: -o names the .onnx file that --fix writes")
    if output is not None and output.suffix != ".onnx":
        raise InputError(f"-o {output} must end in .onnx")
    if fail_on not in ("error", "warning"):
        raise InputError(f"--fail-on {fail_on} is neither error nor warning")


def _show(
    console: Console,
    done: Lint,
    repairs: tuple[Applied, ...] | None,
    output: Path | None,
    layers: bool,
    report: Path | None,
    verbose: bool = False,
) -> None:
    for text in (*done.warnings, *done.notes):
        console.warn(text)
    told = document(done, repairs, output)
    if report is not None:
        from hexaquant.core.atomic import write_text

        write_text(report, json_module.dumps(told, indent=1))
    drawings = [lambda: finding_rows(done), lambda: info_lines(done)]
    if layers:
        drawings.insert(0, lambda: rows(done))
    if verbose:
        told["not_fused"] = [
            {"function": n.function, "layer": str(n.layer), "reason": n.reason} for n in done.not_fused
        ]
        drawings.append(lambda: not_fused_rows(done))
    if repairs is not None:
        drawings.append(lambda: repair_rows(repairs, output))
    console.result(told, *drawings, lambda: grades(done), lambda: summary(done))


def not_fused_rows(done: Lint) -> Any:
    """A table of what stays written out, and why."""
    found = [[str(one.layer), one.function, one.reason] for one in done.not_fused]
    return table("not fused", ["layer", "function", "why"], found) if found else ""


def write_lint(console: Console, folder: Path, how: Settings) -> None:
    """OUT/lint.json of an artifact folder, for its report; a warning where lint cannot look at it."""
    from hexaquant.api.lint import lint as lint_model
    from hexaquant.core.atomic import write_text
    from hexaquant.core.errors import InputError, TargetError

    try:
        done = lint_model(folder, target=how.target, scheme=how.scheme, overrides=how.overrides)
    except (InputError, TargetError) as error:
        console.warn(f"no lint.json: {error}")
        return
    write_text(folder / LINT, json_module.dumps(document(done), indent=1))


def document(done: Lint, repairs: tuple[Applied, ...] | None = None, output: Path | None = None) -> dict[str, Any]:
    """The JSON document (docs/insight.md): findings, counts of verdicts and one entry per layer."""
    from hexaquant.analysis.lint.finding import FORMAT, counts, findings_document, repairs_document

    fixed = {} if repairs is None else {"fixed": str(output), "repairs": repairs_document(repairs)}
    return {
        "kind": "lint",
        "format": FORMAT,
        "model": done.source,
        "target": done.target.name,
        "architecture": done.target.arch_name,
        "scheme": done.scheme.name,
        "measured_with": f"onnxruntime-qnn {done.release}",
        "samples": done.samples,
        "severities": counts(done.findings),
        "suppressed": done.suppressed,
        "findings": findings_document(done.findings),
        "counts": dict(Counter(judgement.status for judgement in done.judgements)),
        "scheme_problem": done.scheme_problem,
        "warnings": list(done.warnings),
        "notes": list(done.notes),
        "layers": [_entry(judgement) for judgement in done.judgements],
        **fixed,
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
    """One row per layer."""
    cells = [_cells(_entry(judgement)) for judgement in done.judgements]
    return table(
        f"{done.source} for {done.target}", ["layer", "operator", "scheme", "verdict", "reason and remedy"], cells
    )


def _cells(entry: dict[str, str]) -> list[str]:
    where = f"{entry['layer']} ({entry['source']})" if entry["source"] else entry["layer"]
    why = "; ".join(text for text in (entry["reason"], entry["remedy"]) if text)
    return [where, entry["operator"], entry["scheme"], entry["verdict"], why]


def finding_rows(done: Lint) -> Any:
    """Errors and warnings by layer: each with its reason, its cost and what to do."""
    told = [f for f in done.findings if f.severity != "info"]
    if not told:
        return "no errors and no warnings"
    places = list(dict.fromkeys(_where(f) for f in told))
    cells = []
    for place in places:
        for index, finding in enumerate(f for f in told if _where(f) == place):
            cells.append([place if index == 0 else "", f"{finding.severity} {finding.rule}", _sentence(finding)])
    return table("findings", ["layer", "rule", "what, why, and what to do"], cells)


def _where(finding: Finding) -> str:
    return f"{finding.where} ({finding.layer.source})" if finding.layer.source else finding.where


def _sentence(finding: Finding) -> str:
    cost = "" if finding.cost_db is None else f" Alone it leaves the outputs {finding.cost_db:.1f} dB."
    mended = " (--fix)" if finding.fixable else ""
    return f"{finding.text}: {finding.why}.{cost} Do: {finding.fix}{mended}."


def info_lines(done: Lint) -> str:
    """A line a rule for what costs nothing: how often, what becomes of it, the first layers."""
    infos: dict[str, list[Finding]] = {}
    for finding in done.findings:
        if finding.severity == "info":
            infos.setdefault(finding.rule, []).append(finding)
    lines = []
    for rule, found in infos.items():
        places = list(dict.fromkeys(f.where for f in found))
        more = f" and {len(places) - SHOWN_INFOS} more" if len(places) > SHOWN_INFOS else ""
        lines.append(f"info {rule}: {len(found)}x, {found[0].fix} ({', '.join(places[:SHOWN_INFOS])}{more})")
    return "\n".join(lines)


def repair_rows(repairs: tuple[Applied, ...], output: Path | None) -> Any:
    """What --fix did."""
    cells = [
        [r.rule, len(r.operators), f"{r.deviation:.1g}", "undone: " + r.reason if r.reason else "applied"]
        for r in repairs
    ]
    if not cells:
        return f"nothing to mend; {output} is the network as it was"
    return table(f"mended: {output}", ["rule", "operators", "outputs moved by", "result"], cells, right=(1, 2))


def grades(done: Lint) -> str:
    """ "0 errors, 2 warnings, 5 infos"."""
    found = Counter(f.severity for f in done.findings)
    words = ", ".join(f"{found[s]} {s}{'' if found[s] == 1 else 's'}" for s in ("error", "warning", "info"))
    return words + (f", {done.suppressed} suppressed" if done.suppressed else "")


def summary(done: Lint) -> str:
    """ "12 layers: 11 legal, 1 refused"."""
    counts = Counter(judgement.status for judgement in done.judgements)
    unknown = " (unknown: not measured, only the backend knows)" if counts["unknown"] else ""
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{len(done.judgements)} layers: {told}{unknown}"
