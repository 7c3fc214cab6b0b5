"""The compile job, run in a child: a DLC becomes a context binary through the QNN C interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexaquant.qnn.backend import Backend, GraphOptions, QnnError
from hexaquant.qnn.hooks import HookedInterface, short_reasons
from hexaquant.qnn.inspect_job import record_dlc
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.system import System


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
    hooked = HookedInterface(backend, spec["graph_name"])
    try:
        configs = {graph.name: backend.graph_configs(options) for graph in graphs}
        system.compose(system.open_dlc(path), hooked.interface, backend.handle, context, configs)
        for graph in graphs:
            backend.finalize(backend.graph(context, spec["graph_name"] or graph.name))
        binary = backend.binary(context)
    except QnnError as error:
        if any("backend loading failed" in text for text in backend.log.errors()):
            raise Refusal("worker", "the backend could not be loaded: raise the memory limit") from error
        refused = [str(op) for op in hooked.refused[:1]] or short_reasons(backend.log.errors()) or [str(error)]
        raise Refusal("target", "; ".join(refused), reasons=refused) from error
    Path(spec["bin"]).write_bytes(binary)
    return {"graphs": [spec["graph_name"] or graph.name for graph in graphs]}
