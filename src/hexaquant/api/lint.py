"""hq.lint: what will hurt a network on the target, layer by layer, before any calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding
from hexaquant.analysis.lint.repair import Applied, repair
from hexaquant.analysis.lint.run import NotFused, not_fused, run_rules, with_data
from hexaquant.analysis.lint.subject import Subject, make_subject
from hexaquant.analysis.lint.suppress import LintConfig
from hexaquant.api.quantize import random_data
from hexaquant.api.settings import GivenOverrides, Settings, resolve
from hexaquant.core import html
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import HexaquantError, InputError, TargetError, ThresholdMissed
from hexaquant.frontends import load
from hexaquant.frontends.onnx_file import load_written
from hexaquant.htp.check import Judgement
from hexaquant.htp.faults import Fault, faults_left
from hexaquant.htp.legality import legality_table
from hexaquant.htp.scheme import DEFAULT_SCHEME, Scheme, scheme_problem, scheme_warnings
from hexaquant.htp.soc import DEFAULT_TARGET, Target
from hexaquant.io.data import open_data
from hexaquant.io.encodings_file import read_encodings
from hexaquant.io.image_folder import ImageSpec
from hexaquant.io.qdq_reader import from_qdq, is_qdq
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import input_specs, sample_count
from hexaquant.ir.normalize import notes_of

SAMPLES = 8
"""Samples that the rules on activations look at."""
ENCODINGS = "model.encodings"
MODEL = "model.onnx"


@dataclass(frozen=True)
class Lint:
    """``judgements``: one per operator, of the network as it is rewritten for the target. ``release``: of the measured
    wheel. ``scheme_problem``: why the target does not take the scheme at all; ``warnings``: what works, but less well.
    ``findings``: of the rules (analysis/lint), the gravest first; ``suppressed``: how many the user did not want;
    ``samples``: how many the figures on activations come from; ``notes``: what could not be looked at, and why;
    ``not_fused``: functions that stay written out in many operators, each with the reason.
    """

    source: str
    target: Target
    scheme: Scheme
    judgements: tuple[Judgement, ...]
    release: str
    scheme_problem: str = ""
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    suppressed: int = 0
    samples: int = 0
    notes: tuple[str, ...] = ()
    not_fused: tuple[NotFused, ...] = ()

    @property
    def refused(self) -> list[Judgement]:
        """Layers that the target refuses or computes wrongly."""
        return [judgement for judgement in self.judgements if judgement.is_bad]

    def of(self, *rules: str) -> list[Finding]:
        """The findings of ``rules``."""
        return [finding for finding in self.findings if finding.rule in rules]

    def _repr_html_(self) -> str:
        """For notebooks: the findings, then the target's verdict on each layer, refused ones first."""
        found = [(f.layer, f"{f.severity} {f.rule}", f.text, f.fix) for f in self.findings]
        judged = sorted(self.judgements, key=lambda judgement: not judgement.is_bad)
        verdicts = [(j.layer, j.op_type, j.scheme, j.status, j.reason, j.remedy) for j in judged]
        head = html.heading(f"{self.source} in {self.scheme.name} for {self.target}")
        shown = (
            html.table(["layer", "finding", "what", "what to do"], found) if found else html.paragraph("no findings")
        )
        return head + shown + html.table(["layer", "operator", "scheme", "verdict", "reason", "remedy"], verdicts)

    def require_legal(self) -> None:
        """Raise TargetError naming the first layer that is refused."""
        bad = self.refused
        if bad:
            raise TargetError(f"{self.target.name} refuses {len(bad)} of {len(self.judgements)} layers, first {bad[0]}")
        if self.scheme_problem:
            raise TargetError(self.scheme_problem)
        grave = [f for f in self.findings if f.severity == "error"]
        if grave:
            first = f"{grave[0].layer} ({grave[0].op_type}): {grave[0].text}; {grave[0].fix}"
            raise TargetError(f"{len(grave)} findings that {self.target.name} cannot live with, first {first}")

    def require_clean(self) -> None:
        """Raise ThresholdMissed when a warning is left."""
        found = [f for f in self.findings if f.severity == "warning"]
        if found:
            raise ThresholdMissed(f"{len(found)} warnings, first {found[0].rule} at {found[0].layer}: {found[0].text}")


@dataclass(frozen=True)
class Linted:
    """The findings and the mended network: an ONNX graph with the user's names, and what was done to it."""

    lint: Lint
    graph: Graph
    repairs: tuple[Applied, ...]


def lint(
    model: Any,
    *,
    target: str | Target = DEFAULT_TARGET,
    scheme: str | Scheme = DEFAULT_SCHEME,
    overrides: GivenOverrides = None,
    example_inputs: tuple[Any, ...] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    data: Any = None,
    encodings: Mapping[str, Encoding] | str | Path | None = None,
    samples: int = SAMPLES,
    images: ImageSpec | None = None,
    config: LintConfig | None = None,
) -> Lint:
    """Judge every layer of ``model`` (a path, an artifact folder, an nn.Module, a Graph) by the measured table and look
    for what will hurt it on the target, before any calibration. Runs none of Qualcomm's libraries.

    ``data``: as for quantize; a few ``samples`` of it show which activations quantize badly and what each costs.
    ``encodings``: by tensor, or a file or artifact folder, to be compared with weights and data. Raises InputError for
    a model, target, scheme, data, encodings or overrides that cannot be read.
    """
    raw = _raw(model, example_inputs, shapes)
    how = resolve(target, scheme, overrides=overrides, executable=False)
    return _look(raw, how, shapes, data, _given(model, encodings), samples, images, config)[0]


def lint_and_fix(
    model: Any,
    *,
    target: str | Target = DEFAULT_TARGET,
    scheme: str | Scheme = DEFAULT_SCHEME,
    overrides: GivenOverrides = None,
    example_inputs: tuple[Any, ...] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    data: Any = None,
    encodings: Mapping[str, Encoding] | str | Path | None = None,
    samples: int = SAMPLES,
    images: ImageSpec | None = None,
    config: LintConfig | None = None,
) -> Linted:
    """:func:`lint` with the same options, and the network with every safe finding mended (analysis/lint/repair.py).

    Outputs are compared on random inputs, and on ``data`` where it is given.
    """
    raw = _raw(model, example_inputs, shapes)
    how = resolve(target, scheme, overrides=overrides, executable=False)
    found, subject, batches = _look(raw, how, shapes, data, _given(model, encodings), samples, images, config)
    noise = list(islice(random_data(subject.imported, 2).batches(None), 2))
    graph, repairs = repair(subject.written, [*noise, *batches])
    return Linted(found, graph, tuple(repairs))


def _raw(model: Any, example_inputs: Any, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    if isinstance(model, (str, Path)) and (Path(model) / MODEL).is_file():
        model = Path(model) / MODEL
    return load_written(model, example_inputs, shapes=shapes)


def _given(model: Any, encodings: Mapping[str, Encoding] | str | Path | None) -> Mapping[str, Encoding] | str | Path:
    """Of an artifact folder its own encodings, unless others are given."""
    if encodings is None and isinstance(model, (str, Path)) and (Path(model) / ENCODINGS).is_file():
        return Path(model) / ENCODINGS
    return {} if encodings is None else encodings


def _look(
    raw: Graph,
    how: Settings,
    shapes: Mapping[str, Sequence[int | str]] | None,
    data: Any,
    encodings: Mapping[str, Encoding] | str | Path,
    samples: int,
    images: ImageSpec | None,
    config: LintConfig | None,
) -> tuple[Lint, Subject, list[dict[str, Any]]]:
    soc = how.target
    kind = how.scheme
    rules = how.overrides
    left = faults_left(raw, soc.arch)
    raw, stored = from_qdq(raw) if is_qdq(raw) else (raw, {})
    subject = _subject(raw, soc, kind, rules, shapes)
    subject = replace(subject, given=stored | _encodings(encodings, subject.imported))
    subject = replace(subject, judgements=_with_faults(subject.judgements, left, raw, kind))
    notes = notes_of(subject.imported)
    batches: list[dict[str, Any]] = []
    count = 0
    if data is not None:
        batches, count = _first(data, subject.imported, samples, images)
        try:
            subject = with_data(subject, batches)
        except HexaquantError as error:
            notes.append(f"activations were not looked at: {error}")
    findings, suppressed = (config or LintConfig()).apply(run_rules(subject, batches if subject.statistics else ()))
    found = Lint(
        raw.source,
        soc,
        kind,
        subject.judgements,
        legality_table().release,
        scheme_problem(kind, soc),
        tuple(scheme_warnings(kind, soc)),
        tuple(findings),
        suppressed,
        count,
        tuple(notes),
        not_fused(subject),
    )
    return found, subject, batches


def _subject(raw: Graph, target: Target, scheme: Scheme, rules: Any, shapes: Any) -> Subject:
    try:
        return make_subject(raw, target, scheme, rules, shapes)
    except HexaquantError:
        raise
    except Exception:
        load(raw.clone(), shapes=shapes or {})  # says in one sentence what is wrong with a broken model
        raise


def _with_faults(
    judgements: tuple[Judgement, ...], left: list[tuple[oir.Node, Fault, str]], raw: Graph, scheme: Scheme
) -> tuple[Judgement, ...]:
    """``judgements`` with those that lowering will refuse for what a QDQ file says of encodings."""
    bad = {
        node.name: Judgement(raw.origin(node), node.op_type, scheme.name, row.status, row.reason(what), row.remedy)
        for node, row, what in left
    }
    return tuple(bad.get(judgement.layer.node, judgement) for judgement in judgements)


def _encodings(given: Mapping[str, Encoding] | str | Path, graph: Graph) -> dict[str, Encoding]:
    if isinstance(given, Mapping):
        return dict(given)
    path = Path(given) / ENCODINGS if Path(given).is_dir() else Path(given)
    file = read_encodings(path)
    file.check_against(graph)
    return file.resolve(graph).all


def _first(data: Any, graph: Graph, count: int, images: ImageSpec | None) -> tuple[list[dict[str, Any]], int]:
    """The first ``count`` samples of ``data`` in batches of the network's own size."""
    if count < 1:
        raise InputError(f"the number of samples is {count}; give at least 1")
    batches: list[dict[str, Any]] = []
    seen = 0
    specs = input_specs(graph)
    for batch in open_data(data, graph, images).batches(count):
        batches.append(dict(batch))
        seen += sample_count(batch, specs)
        if seen >= count:
            break
    return batches, seen
