"""QDQ ONNX to DLC for one Hexagon architecture and SoC."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.core.atomic import atomic_path
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import sha256_of
from hexaquant.htp.depthwise import refine_depthwise
from hexaquant.htp.faults import mend_or_refuse
from hexaquant.htp.recurrent.rule import recurrent_nodes, unroll_recurrent
from hexaquant.ir.graph import Graph
from hexaquant.qnn.explain import explain
from hexaquant.qnn.inspect import inspect_dlc
from hexaquant.qnn.libraries import QnnLibraries, find_libraries
from hexaquant.qnn.lowering_children import LoweringChildren
from hexaquant.qnn.name_map import map_names
from hexaquant.qnn.native_io import NativeIo, to_native_io
from hexaquant.qnn.preflight import check_lowerable
from hexaquant.qnn.process import JobFailed, Limits
from hexaquant.qnn.records import GraphRecord
from hexaquant.qnn.safe_names import make_names_safe


@dataclass(frozen=True)
class LowerReport:
    """A written DLC. ``graph``: every tensor, encoding and operator in it.

    ``names``: lowered tensor -> tensor of the QDQ ONNX that it stands for (the output of its QuantizeLinear, a
    graph input, output or initializer). Lowered tensors not in it were added by the lowering.
    ``refined``: integer tensors of the QDQ ONNX that arrive as the same numbers on a grid finer by these factors, one
    a scale (htp/depthwise.py). ``written_out``: lowered tensors inside recurrent operators, all float.
    """

    path: Path
    sha256: str
    seconds: float
    io: NativeIo
    graph: GraphRecord
    names: dict[str, str]
    refined: dict[str, tuple[int, ...]] = field(default_factory=dict)
    written_out: frozenset[str] = frozenset()

    @property
    def lowered_names(self) -> dict[str, str]:
        """Tensor of the QDQ ONNX -> the lowered tensor that stands for it most directly."""
        found: dict[str, str] = {}
        for lowered, name in self.names.items():
            found.setdefault(name, lowered)
        return found

    @property
    def float_tensors(self) -> list[str]:
        """Computed tensors that stayed float: in a quantized network they mean that an operator did not fuse with
        its quantize nodes and runs in float16. Those inside recurrent operators do not count."""
        computed = [t for t in self.graph.tensors if t.kind == "native" and t.dtype.startswith("float")]
        return [t.name for t in computed if t.name not in self.written_out]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "written_out": sorted(self.written_out)}


def lower(
    qdq_onnx: Path,
    dlc: Path,
    soc_model: int,
    arch: int,
    *,
    float_io: bool | Collection[str] = False,
    limits: Limits | None = None,
    children: LoweringChildren | None = None,
    wide_int4: bool = False,
) -> LowerReport:
    """Lower ``qdq_onnx`` and write ``dlc`` atomically.

    ``soc_model``: Qualcomm's number (57 = SM8650); ``arch``: 68, 69, 73, 75, 79, 81; ``float_io``: inputs and outputs
    that stay float, by name or all; the others are integers (native_io.py); ``children``: processes that wait for this
    lowering (default: new ones); ``wide_int4``: all 4-bit weights of Conv and Gemm as the same numbers in 8 bits
    (htp/depthwise.py). Raises TargetError naming the refused
    operators and the library's reasons, InputError for a model that is not valid or not static, WorkerError for crashes
    and timeouts.
    """
    start = time.monotonic()
    libraries = find_libraries()
    model = read_model(qdq_onnx)
    check_lowerable(model, qdq_onnx.name)
    steps = write_out_recurrent(model, qdq_onnx.name)
    refined = adapt_forms(model, qdq_onnx.name, arch, wide_int4=wide_int4)
    io, originals = prepare_io(model, float_io)
    ready = LoweringChildren() if children is None else nullcontext(children)
    with tempfile.TemporaryDirectory(prefix="hexaquant-lower-") as name, ready as processes:
        folder = Path(name)
        oir.save(model, folder / "model.onnx", external_data="model.data")
        spec = lowering_spec(libraries, folder, soc_model, arch)
        try:
            outcome = processes.lower.run("lower", spec, limits)
        except JobFailed as failure:
            raise explain(failure, spec, model, qdq_onnx.name, limits) from failure
        graph = inspect_dlc(Path(outcome.result["dlc"]), child=processes.inspect).graphs[0]
        with atomic_path(dlc) as temporary:
            shutil.copyfile(outcome.result["dlc"], temporary)
    names = {lowered: originals.get(name, name) for lowered, name in map_names(model, graph).items()}
    written_out = frozenset(t.name for t in graph.tensors if originals.get(t.name, t.name) in steps)
    return LowerReport(dlc, sha256_of(dlc), time.monotonic() - start, io, graph, names, refined, written_out)


def write_out_recurrent(model: oir.Model, source: str) -> set[str]:
    """Recurrent operators become their steps in float16, in place; names of what they wrote and read."""
    graph = Graph(model, source)
    ends = {v.name for node in recurrent_nodes(graph) for v in (*node.inputs, *node.outputs) if v is not None}
    before = {value.name or "" for value in graph.values()} - ends
    unroll_recurrent(graph, in_float=True)
    return {value.name or "" for value in graph.values()} - before


def adapt_forms(model: oir.Model, source: str, arch: int, *, wide_int4: bool = False) -> dict[str, tuple[int, ...]]:
    """Forms that the target takes and computes right, every number unchanged, in place; returns what became finer.

    Raises TargetError for a fault (htp/faults.py) that cannot be mended.
    """
    refined = refine_depthwise(model, every_layer=wide_int4)
    mend_or_refuse(model, source, arch)
    return refined


def prepare_io(model: oir.Model, float_io: bool | Collection[str] = False) -> tuple[NativeIo, dict[str, str]]:
    """Native inputs and outputs and names that survive the lowering, in place; also {name now: original name}."""
    io = to_native_io(model, float_io)
    originals = make_names_safe(model)
    return io.with_lowered_names(model), originals


def read_model(path: Path) -> oir.Model:
    """The model at ``path``. Raises InputError when there is none."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: export the quantized model first")
    try:
        return oir.load(path)
    except Exception as error:
        raise InputError(f"{path} is not a readable ONNX file ({error}): export it again") from error


def lowering_spec(libraries: QnnLibraries, folder: Path, soc_model: int, arch: int) -> dict[str, Any]:
    (folder / "dlc").mkdir()
    return {
        "onnx": str(folder / "model.onnx"),
        "folder": str(folder / "dlc"),
        "soc_model": soc_model,
        "arch": arch,
        "provider": str(libraries.provider),
        "htp": str(libraries.htp),
        "ir": str(libraries.ir),
    }
