"""Quantizes small networks with the package's own pipeline and asks the real backend about them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx

from hexaquant.core.errors import WorkerError
from hexaquant.frontends import load
from hexaquant.htp import kernels
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import ARCHITECTURES, find_target
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.graph import Graph
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.node_schemes import PER_TENSOR
from hexaquant.sim.overrides import parse_overrides
from hexaquant.sim.planner import plan_unchecked
from legality.case import run_reference

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Variant:
    """A scheme and how weights are laid out in it; ``name`` as in hexaquant.sim.node_schemes."""

    scheme: str
    per_tensor: bool = False

    @property
    def name(self) -> str:
        return self.scheme + (PER_TENSOR if self.per_tensor else "")


def variants(op_type: str) -> list[Variant]:
    """Every scheme; 4-bit weights also with one scale a tensor, which is where the layout decides."""
    plain = [Variant(scheme) for scheme in SCHEMES]
    if op_type not in ("Conv", "Gemm", "MatMul"):
        return plain
    return plain + [Variant(name, True) for name, scheme in SCHEMES.items() if scheme.weight_bits == 4]


@dataclass(frozen=True)
class Prepared:
    """A quantized network on disk. ``digest`` names its files in ``folder``: .onnx, .feeds.npz, .reference.npz."""

    folder: Path
    digest: str

    def request(self, arch: int) -> dict[str, Any]:
        stem = str(self.folder / self.digest)
        soc = find_target(ARCHITECTURES[arch])
        return {
            "onnx": f"{stem}.onnx",
            "feeds": f"{stem}.feeds.npz",
            "reference": f"{stem}.reference.npz",
            "soc_model": soc.model,
            "arch": arch,
        }


def import_case(model: onnx.ModelProto) -> Graph:
    """The network as it is planned: normalized and rewritten for the target."""
    graph = load(model)
    prepare_for_target(graph)
    return graph


def quantize(graph: Graph, feeds: Sequence[Mapping[str, np.ndarray]], variant: Variant, folder: Path) -> Prepared:
    """Plan ``graph`` (left as it was), calibrate it on ``feeds`` and write the files of a probe.

    Operators without a rule are planned as if they computed in any type: the backend shall say what it thinks of them.
    """
    copy = graph.clone()
    overrides = parse_overrides({"*": {"granularity": "tensor"}} if variant.per_tensor else None)
    unknown = {node.op_type: kernels.OpRule() for node in copy.nodes if kernels.rule_of(node.op_type) is None}
    with patch.dict(kernels.OPS, unknown):
        model = QuantizedModel(copy, plan_unchecked(copy, find_target("v75"), SCHEMES[variant.scheme], overrides))
        calibrate(model, feeds, observer="min_max", weight_observer="min_max")
        qdq = to_qdq(model.exported_graph(), model.encodings(), bypass=model.bypassed())
    draft = folder / f"draft-{os.getpid()}.onnx"
    qdq.save(draft)
    content = draft.read_bytes()
    prepared = Prepared(folder, hashlib.sha256(content + repr(feeds).encode()).hexdigest()[:16])
    stem = str(folder / prepared.digest)
    draft.replace(f"{stem}.onnx")
    np.savez(f"{stem}.feeds.npz", **feeds[-1])  # type: ignore[arg-type]
    np.savez(f"{stem}.reference.npz", **run_reference(content, feeds[-1]))  # type: ignore[arg-type]
    return prepared


class Prober:
    """A worker process (legality/worker.py); use it as a context manager."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The backend's answer. A crash or a hang of the libraries is an answer too (verdict "crash")."""
        child = self._child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(dict(request)).encode() + b"\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            raise WorkerError(f"the probing worker ended with exit code {child.wait()}; run it by hand to see why")
        return dict(json.loads(line))

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(ROOT), str(ROOT.parent / "src")])
        environment = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", PYTHONPATH=paths)
        command = [sys.executable, "-m", "legality.worker"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

    def close(self) -> None:
        """End the worker and its fork."""
        if self._child is not None:
            self._child.communicate()
            self._child = None

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
