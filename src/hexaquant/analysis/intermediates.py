"""A network on the target that also shows its intermediate tensors: a copy of the QDQ model with more outputs.

The copy computes the same: tensors that would stay inside become outputs as they are stored (integers), and the
network's own outputs are unchanged to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import NAME, IoNames, amend_manifest, read_manifest
from hexaquant.folder.resume import is_current, step_fingerprint
from hexaquant.htp.soc import Target
from hexaquant.io.qdq_writer import TENSOR
from hexaquant.ir.fingerprint import fingerprint
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.pool import Pool

Arrays = Mapping[str, np.ndarray]
STEP = "shown"
"""The manifest's section of the compiled copy."""


def expose_intermediates(qdq: Graph) -> tuple[Graph, dict[str, str]]:
    """(a copy of ``qdq`` whose computed quantized tensors are outputs too, output name -> tensor name)."""
    graph = qdq.clone()
    shown = {value.name or "": value.name or "" for value in graph.outputs}
    for node in graph.nodes:
        tensor = node.metadata_props.get(TENSOR, "") if node.op_type == "DequantizeLinear" else ""
        stored = node.inputs[0]
        quantize = stored.producer() if tensor and stored is not None else None
        computed = quantize.inputs[0].producer() if quantize is not None and quantize.inputs[0] is not None else None
        name = node.outputs[0].name or ""
        if computed is None or computed.op_type == "DequantizeLinear" or name in shown:
            continue
        graph.model.graph.outputs.append(node.outputs[0])
        shown[name] = tensor
    return graph, shown


def _seal(graph: Graph, soc: Target, io: IoNames) -> str:
    """Of all that decides what the copy's outputs are and are called."""
    return step_fingerprint({"shown": fingerprint(graph), "target": soc.name, "io": io})


def _is_whole(graph: Graph, soc: Target, binary: Path) -> bool:
    """Whether the copy is of this network, made by these versions, and as it was written, its names too."""
    try:
        io = read_manifest(binary.parent).lowering.io
    except InputError:
        return False
    return io is not None and is_current(binary.parent, STEP, _seal(graph, soc, io), [binary.name])


def _compile(graph: Graph, soc: Target, folder: Path, binary: Path) -> None:
    model = folder / "shown.onnx"
    dlc = folder / "shown.dlc"
    graph.save(model)
    report = lower(model, dlc, soc.model, soc.arch)
    compile_dlc(dlc, binary, soc.model, soc.arch)
    (folder / NAME).unlink(missing_ok=True)
    io = report.io.names()
    sections = {"lower": {"io": io}, STEP: {"fingerprint": _seal(graph, soc, io)}}
    amend_manifest(folder, files=[binary.name], sections=sections)


class Intermediates:
    """The compiled copy of ``qdq`` for ``soc`` in ``folder``, on one process per core; use it as a context manager.

    ``reuse``: take the copy that ``folder`` holds of an earlier call, if it is this network's and whole. Raises
    TargetError when the target refuses the copy.
    """

    def __init__(
        self, qdq: Graph, soc: Target, folder: Path, workers: int | None = None, *, reuse: bool = False
    ) -> None:
        graph, self.tensors = expose_intermediates(qdq)
        graph = freeze_batch(graph, 1)
        binary = folder / "shown.bin"
        if not (reuse and _is_whole(graph, soc, binary)):
            _compile(graph, soc, folder, binary)
        self._pool = Pool(binary, workers=workers, soc=soc.model)

    def run(self, samples: Iterable[Arrays]) -> Iterator[dict[str, np.ndarray]]:
        """For each sample (batch 1): the network's outputs and every quantized tensor it computes, by our names."""
        for outputs in self._pool.map(samples):
            yield {self.tensors[name]: array for name, array in outputs.items()}

    def __enter__(self) -> Intermediates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
