"""hq.convert: a network with the encodings that it has or is given -> DLC, with the proof that every one arrived."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hexaquant.analysis.coverage import Coverage, prove_coverage
from hexaquant.analysis.self_check import check_file, expect, keep_expected
from hexaquant.api.check_binary import check_dlc
from hexaquant.core.atomic import atomic_path, write_text
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, EnvironmentLacksError, InputError, TargetError, WorkerError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import require_untouched
from hexaquant.folder.manifest import amend_manifest
from hexaquant.frontends import load
from hexaquant.htp.check import by_name, judge, verdict_text
from hexaquant.htp.expand_blocks import expand_lpbq
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.soc import DEFAULT_TARGET, Target, find_target
from hexaquant.io.encodings_file import EncodingsFile, read_encodings, unknown_names_message
from hexaquant.io.qdq_reader import from_qdq, is_qdq
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.cut import end_at
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.load import read_model
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn.lower import LowerReport, lower
from hexaquant.qnn.lowering_children import LoweringChildren
from hexaquant.qnn.net_json import net_document
from hexaquant.qnn.saver import Recording, record_source
from hexaquant.sim.given_encodings import Decision, complete_encodings, given_schemes

# Beside a converted DLC: the graph as ``*_net.json`` and as the C source of Qualcomm's saver backend.

FOLDER = "qnn_saver"


@dataclass(frozen=True)
class QnnFiles:
    """``recording`` is None where the saver library cannot record the graph, because of ``reason``."""

    converted: Converted
    net_json: Path
    recording: Recording | None
    reason: str = ""


def write_sources(converted: Converted, *, float_io: bool | Collection[str] = False, command: str = "") -> QnnFiles:
    """Write <stem>_net.json and qnn_saver/ beside the DLC and record them in its manifest.json.

    ``float_io`` as it was for the DLC; ``command``: what net.json names as its maker. The DLC stands by itself: a
    failure of the saver library is told in ``reason`` and raises nothing.
    """
    dlc = converted.dlc
    report = converted.report
    net_json = dlc.with_name(f"{dlc.stem}_net.json")
    names = report.names | {row.lowered: row.tensor for row in converted.coverage.rows if row.tensor}
    write_text(net_json, json.dumps(net_document(report.graph, names, command), indent=1))
    recording, reason = _record_sources(converted, dlc.parent / FOLDER, float_io)
    made = [] if recording is None else [recording.source, recording.parameters]
    files = [net_json.name, *(path.relative_to(dlc.parent).as_posix() for path in made)]
    amend_manifest(dlc.parent, files=files)
    return QnnFiles(converted, net_json, recording, reason)


def _record_sources(
    converted: Converted, folder: Path, float_io: bool | Collection[str]
) -> tuple[Recording | None, str]:
    soc = converted.target
    with tempfile.TemporaryDirectory(prefix="hexaquant-sources-") as name:
        source = Path(name) / "model.qdq.onnx"
        converted.qdq.save(source)
        try:
            return record_source(source, folder, soc.model, soc.arch, float_io=float_io), ""
        except (TargetError, WorkerError, EnvironmentLacksError) as error:
            return None, str(error)


Shapes = Mapping[str, Sequence[int | str]]
_Raw = dict[str, np.ndarray | None]
"""Tensors of an ONNX file by name: their data where they are constants."""


@dataclass(frozen=True)
class Network:
    """A static float graph as the target gets it, and the encodings that came with it, by tensor name.

    ``expanded``: weights that came with LPBQ encodings and have the same numbers in 8 bits per channel now.
    """

    graph: Graph
    given: dict[str, Encoding]
    expanded: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpVerdict:
    """One operator of a dry run: "runs", or why the target refuses it."""

    name: str
    op_type: str
    verdict: str


@dataclass(frozen=True)
class Converted:
    """What convert wrote. ``decisions``: what became of each given encoding (sim/given_encodings.py).

    ``qdq``: the network as it was lowered.
    """

    dlc: Path
    coverage_file: Path
    target: Target
    scheme: str
    decisions: tuple[Decision, ...]
    coverage: Coverage
    report: LowerReport
    qdq: Graph

    def departures(self) -> list[Decision]:
        """Every encoding that was not simply taken over."""
        return [d for d in self.decisions if d.outcome != "taken"]


def read_network(
    model: str | Path,
    encodings: str | Path | None = None,
    *,
    shapes: Shapes | None = None,
    symbols: Mapping[str, int] | None = None,
    batch: int | None = None,
    outputs: Sequence[str] = (),
    target: Target | None = None,
) -> Network:
    """The network at ``model`` (.onnx, .pt2), made static, with its encodings: the file's before its QDQ nodes'.

    ``batch`` replaces the first dimension of every input; without it a symbolic one without a value becomes 1.
    ``outputs``: tensors of the .onnx file at which the network shall end, instead of its own outputs. ``target``: what
    recurrent operators are formed for (htp/recurrent/rule.py). Raises InputError for files that cannot be read,
    EncodingError for encodings that are not this network's.
    """
    path = Path(model)
    graph, raw = _load(path, shapes, outputs)
    if batch is not None:
        graph = load(graph, shapes={v.name or "": [batch, *_rest(v)] for v in graph.inputs if v.shape})
    graph = freeze_batch(graph, batch or 1, symbols)
    graph, given = from_qdq(graph) if is_qdq(graph) else (graph, {})
    if encodings is not None:
        file = read_encodings(encodings).resolve(graph)
        require_untouched(Path(encodings), file)
        _require_known(file, graph, set(raw))
        given |= file.all
    if outputs:  # what lies behind them is no part of the network any more
        kept = {v.name for v in graph.values()}
        given = {name: encoding for name, encoding in given.items() if name in kept}
    prepare_for_target(graph, target)
    _require_unchanged(graph, given, raw)
    return Network(graph, given, tuple(expand_lpbq(graph, given)))


def _load(path: Path, shapes: Shapes | None, outputs: Sequence[str]) -> tuple[Graph, _Raw]:
    """The network, and every tensor of the ONNX file as it is on disk; none for other files."""
    if path.suffix.lower() == ".onnx":
        graph = Graph(read_model(path), path.name)
        raw = {v.name: constant(v) for v in graph.values() if v.name}
        if outputs:
            end_at(graph, outputs)
        return load(graph, shapes=shapes or {}), raw
    if outputs:
        raise InputError(f"{path} is not an .onnx file; only these can end at other tensors than their outputs")
    return load(path, shapes=shapes), {}


def _rest(value: Any) -> list[int | str]:
    return [d if isinstance(d, int) else d.value or "" for d in value.shape[1:]]


def _require_known(file: EncodingsFile, graph: Graph, raw: set[str]) -> None:
    """Names that neither the network nor its file has: renamed tensors, or another network's encodings."""
    known = raw | {v.name for v in graph.values() if v.name}
    unknown = [name for name in file.all if name not in known]
    if unknown:
        raise EncodingError(unknown_names_message(unknown, known, file.source, graph.source))


def _require_unchanged(graph: Graph, given: Mapping[str, Encoding], raw: _Raw) -> None:
    """A weight that was folded with its BatchNorm no longer fits the encoding made before."""
    for value in graph.values():
        name = value.name or ""
        before = raw.get(name)
        now = constant(value) if value.is_initializer() else None
        if name not in given or before is None or now is None or before.shape != now.shape:
            continue
        if not np.array_equal(before, now):
            raise EncodingError(
                f"the encoding of '{name}' was made before its BatchNorm was folded into it; fold first (AIMET: "
                "fold_all_batch_norms) and export the encodings again"
            )


def check_operators(graph: Graph, target: str | Target, given: Mapping[str, Encoding] | None = None) -> list[OpVerdict]:
    """The verdict of ``target`` on every operator of ``graph``, in order, in the types that ``given`` encodings mean.

    Raises InputError for an unknown target.
    """
    judgements = judge(graph, find_target(target), by_name(given_schemes(graph, given or {})))
    return [
        OpVerdict(node.name or node.outputs[0].name or "", node.op_type, verdict_text(judgement))
        for node, judgement in zip(graph.nodes, judgements, strict=True)
    ]


def convert(
    network: Network,
    dlc: str | Path,
    *,
    target: str | Target = DEFAULT_TARGET,
    float_fallback: bool = False,
    float_io: bool | Collection[str] = False,
    events: Events | None = None,
    children: LoweringChildren | None = None,
    wide_int4: bool = False,
    check: bool = True,
    samples: Sequence[Mapping[str, np.ndarray]] = (),
) -> Converted:
    """Write ``dlc`` and ``<dlc>.coverage.json``, and record both in the folder's manifest.json.

    ``float_fallback``: tensors without an encoding run in float16 instead of being an error; ``float_io``: names
    of inputs and outputs (True: all) that stay float32, not the encodings' integers; ``children``: processes that
    wait for the lowering; ``wide_int4``: 4-bit weights as the same numbers in 8 bits, which the target adds up more
    exactly; ``check``: the DLC is compiled, runs two of ``samples`` (of noise, without any) on the emulator and is held
    against onnxruntime, whose outputs are kept as ``<dlc>.check.npz``. Raises EncodingError listing tensors without
    encodings, TargetError naming the operator that the target refuses or computes wrong, or the tensor whose
    encoding did not arrive.
    """
    soc = find_target(target)
    path = Path(dlc)
    log = events or Events()
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for the DLC; create it or choose another -o")
    done = complete_encodings(network.graph, network.given, soc, float_fallback=float_fallback)
    decisions = _with_expanded(done.decisions, network.expanded)
    model = done.model
    qdq = to_qdq(model.exported_graph(), model.encodings(), bypass=model.bypassed())
    log.note("lower", f"lowering for {soc}")
    with tempfile.TemporaryDirectory(prefix="hexaquant-convert-") as folder:
        source = Path(folder) / f"{Path(network.graph.source).stem}.qdq.onnx"
        draft = Path(folder) / "model.dlc"
        qdq.save(source)
        report = lower(source, draft, soc.model, soc.arch, float_io=float_io, children=children, wide_int4=wide_int4)
        coverage = prove_coverage(qdq, report)
        coverage.require_complete()
        expected = expect(qdq, samples or None, report.sha256) if check else None
        if expected is not None:
            log.note("check", f"running {path.name} beside onnxruntime")
            check_dlc(draft, report, expected, soc, qdq)
        _publish(draft, path)
    file = path.with_name(path.name + ".coverage.json")
    result = Converted(path, file, soc, model.plan.scheme.name, decisions, coverage, report, qdq)
    write_text(file, json.dumps(coverage_document(result), indent=1))
    check_file(path).unlink(missing_ok=True)
    if expected is not None:
        keep_expected(check_file(path), expected)
    _record(result)
    return result


def _with_expanded(decisions: Sequence[Decision], expanded: Sequence[str]) -> tuple[Decision, ...]:
    """``decisions``, in which an expanded weight says so."""
    detail = "LPBQ: the same numbers as 8-bit integers with one scale per channel, which the target takes"
    return tuple(Decision(d.tensor, "adjusted", detail) if d.tensor in expanded else d for d in decisions)


def _record(result: Converted) -> None:
    """Hashes, target and the names of inputs and outputs into the manifest.json beside the DLC."""
    folder = result.dlc.parent
    name = result.dlc.name
    section = {"target": result.target.name, "scheme": result.scheme, "io": result.report.io.names()}
    sections = {f"context {name}": {**section, "coverage": result.coverage.counts()}}
    files = [name, result.coverage_file.name]
    files += [file.name for file in (check_file(result.dlc),) if file.is_file()]
    amend_manifest(folder, files=files, sections=sections, target=result.target.name)


def _publish(draft: Path, path: Path) -> None:
    """Put the proven DLC in place, whole or not at all."""
    with atomic_path(path) as temporary:
        shutil.copyfile(draft, temporary)


def coverage_document(result: Converted) -> dict[str, Any]:
    """What <dlc>.coverage.json holds: verdict counts, the tensors' rows, departures from the given encodings, I/O."""
    return {
        "dlc": result.dlc.name,
        "sha256": result.report.sha256,
        "target": result.target.name,
        "scheme": result.scheme,
        "counts": result.coverage.counts(),
        "departures": [asdict(d) for d in result.departures()],
        "io": result.report.io.names(),
        "rows": [asdict(row) for row in result.coverage.rows],
    }
