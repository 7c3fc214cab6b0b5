"""The compile job, run in a child: a DLC becomes a context binary through the QNN C interface."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, c_char_p, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from hexaquant.qnn.backend import Backend, GraphOptions, QnnError
from hexaquant.qnn.inspect_job import record_dlc
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.system import System
from hexaquant.qnn.tables import INTERFACE_FUNCTIONS

_CreateGraph = CFUNCTYPE(c_uint64, c_void_p, c_char_p, c_void_p, c_void_p)


def compile(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: dlc, bin, soc_model, arch, o_level, vtcm_mb, graph_name. Writes ``bin``."""
    libraries = find_libraries()
    system, backend = System(libraries.system), Backend(libraries.htp, libraries.abi)
    path = Path(spec["dlc"])
    graphs = record_dlc(system, libraries.abi.function_count, path)
    if spec["graph_name"] is not None and len(graphs) != 1:
        raise Refusal("input", f"the DLC holds {len(graphs)} graphs, so one graph name cannot be given")
    try:
        device = backend.device(spec["soc_model"], spec["arch"])
    except QnnError as error:
        raise Refusal("target", f"the backend knows no SoC model {spec['soc_model']}: {error}") from error
    context = backend.new_context(device)
    options = GraphOptions(spec["o_level"], spec["vtcm_mb"])
    try:
        interface, keep = _renaming(backend, spec["graph_name"])
        configs = {graph.name: backend.graph_configs(options) for graph in graphs}
        system.compose(system.open_dlc(path), interface, backend.handle, context, configs)
        for graph in graphs:
            backend.finalize(backend.graph(context, spec["graph_name"] or graph.name))
        del keep
        binary = backend.binary(context)
    except QnnError as error:
        reasons = backend.log.errors()
        raise Refusal("target", "; ".join(reasons) or str(error), function=error.function, reasons=reasons) from error
    Path(spec["bin"]).write_bytes(binary)
    return {"graphs": [spec["graph_name"] or graph.name for graph in graphs]}


def _renaming(backend: Backend, name: str | None) -> tuple[ctypes.Structure, object]:
    """A copy of the backend's interface whose ``graphCreate`` gives the graph ``name`` (None: its own name)."""
    interface = backend.interface_type()
    ctypes.memmove(ctypes.byref(interface), ctypes.byref(backend.interface), ctypes.sizeof(interface))
    if name is None:
        return interface, None
    index = INTERFACE_FUNCTIONS.index("graphCreate")
    original = _CreateGraph(interface.functions[index])

    def create(context: int, _name: bytes, configs: int, out: int) -> int:
        return original(context, name.encode(), configs, out)

    callback = _CreateGraph(create)
    interface.functions[index] = ctypes.cast(callback, c_void_p)
    return interface, callback
