"""The inspect jobs, run in a child: what a DLC or a context binary holds."""

from __future__ import annotations

import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hexaquant.qnn.abi import Handle
from hexaquant.qnn.backend import QnnError
from hexaquant.qnn.describe import describe_graph
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.recorder import Recorder
from hexaquant.qnn.records import BinaryInfo, DlcInfo, GraphRecord
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.system import System


def inspect_dlc(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: dlc. Returns a DlcInfo as JSON."""
    libraries = find_libraries()
    path = Path(spec["dlc"])
    try:
        with zipfile.ZipFile(path) as archive:
            records = {member.filename: member.file_size for member in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise Refusal("input", "this is not a DLC file or it is truncated") from error
    graphs = record_dlc(System(libraries.system), libraries.abi.function_count, path)
    return asdict(DlcInfo(tuple(graphs), records))


def record_dlc(system: System, function_count: int, path: Path) -> list[GraphRecord]:
    """Every graph of the DLC with all tensors and operators. Raises Refusal when it cannot be read."""
    recorder = Recorder(function_count)
    try:
        system.compose(system.open_dlc(path), recorder.interface, Handle(1), Handle(1))
    except QnnError as error:
        raise Refusal("input", f"this is not a DLC file or it is damaged ({error.function} {error.code})") from error
    return recorder.graphs()


def inspect_binary(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: bin. Returns a BinaryInfo as JSON."""
    system = System(find_libraries().system)
    return asdict(read_binary(system, np.fromfile(spec["bin"], np.uint8)))


def read_binary(system: System, binary: np.ndarray) -> BinaryInfo:
    """Metadata of the context binary in ``binary``. Raises Refusal when it is none."""
    if not binary.size:
        raise Refusal("input", "the file is empty")
    try:
        body = system.describe_binary(binary).body
    except QnnError as error:
        raise Refusal("input", f"this is not a context binary or it is damaged (error {error.code})") from error
    graphs = tuple(describe_graph(body.graphs[i]) for i in range(body.graph_count))
    return BinaryInfo(
        build_id=(body.build_id or b"").decode(),
        core_version=str(body.core_version),
        backend_version=str(body.backend_version),
        soc_model=body.soc_model,
        size=int(binary.size),
        graphs=graphs,
    )
