"""The compile job, run in a child: DLCs become one context binary through the QNN C interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hexaquant.qnn.abi import Handle
from hexaquant.qnn.backend import Backend, GraphOptions, QnnError
from hexaquant.qnn.hooks import HookedInterface, short_reasons
from hexaquant.qnn.inspect_job import record_dlc
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.profile import Event, Stage
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.system import System


def compile(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: graphs (each dlc, name, o_level, vtcm_mb), bin, soc_model, arch, profiling, share_weights. Writes
    ``bin``.

    ``name`` None keeps the names in the DLC; ``arch`` None: the SoC's; ``profiling``: a level of profile.py or None.
    Returns the names of the graphs and the stages of the profile.
    """
    libraries = find_libraries()
    system = System(libraries.system)
    backend = Backend(libraries.htp, libraries.abi)
    try:
        device = backend.device(spec["soc_model"], spec.get("arch"))
    except QnnError as error:
        raise Refusal("target", f"the backend knows no SoC model {spec['soc_model']}: {error}") from error
    context = backend.new_context(device, spec.get("share_weights", False))
    clock = _Clock(backend, spec.get("profiling"))
    names: list[str] = []
    for entry in spec["graphs"]:
        names += _add(entry, system, backend, context, clock)
    if len(set(names)) < len(names):
        raise Refusal("input", f"two graphs are called {names[-1]}; give each another name")
    try:
        Path(spec["bin"]).write_bytes(backend.binary(context))
    except QnnError as error:
        raise _refused(backend, [], error) from error
    return {"graphs": names, "stages": [asdict(stage) for stage in clock.stages]}


class _Clock:
    """Calls of the library, measured where a profile is wanted."""

    def __init__(self, backend: Backend, level: str | None) -> None:
        self.stages: list[Stage] = []
        self._backend = backend
        self._wanted = level is not None
        self._profile = backend.new_profile(level)

    def measure(self, kind: str, graph: str, call: Callable[[Handle | None], object], own: bool = True) -> None:
        """Do ``call``; with ``own`` it fills the profile it is given."""
        start = time.perf_counter_ns()
        call(self._profile)
        took = (time.perf_counter_ns() - start) // 1000
        if not self._wanted:
            return
        events: tuple[Event, ...] = self._backend.events(self._profile) if own else ()
        self.stages.append(Stage(kind, graph, took, events))


def _add(entry: dict[str, Any], system: System, backend: Backend, context: Handle, clock: _Clock) -> list[str]:
    """Compose and finalize the graphs of one DLC; their names in the context."""
    path = Path(entry["dlc"])
    graphs = record_dlc(system, backend.abi.function_count, path)
    if entry["name"] is not None and len(graphs) != 1:
        raise Refusal("input", f"{path.name} holds {len(graphs)} graphs, so one graph name cannot be given")
    names = [entry["name"] or graph.name for graph in graphs]
    options = GraphOptions(entry["o_level"], entry["vtcm_mb"])
    hooked = HookedInterface(backend, entry["name"])
    configs = {graph.name: backend.graph_configs(options) for graph in graphs}

    def compose(_: Handle | None) -> None:
        system.compose(system.open_dlc(path), hooked.interface, backend.handle, context, configs)

    try:
        clock.measure("compose", ", ".join(names), compose, own=False)
        for name in names:
            graph = backend.graph(context, name)
            clock.measure("finalize", name, lambda profile, graph=graph: backend.finalize(graph, profile))  # type: ignore[misc]
    except QnnError as error:
        raise _refused(backend, [str(op) for op in hooked.refused[:1]], error) from error
    return names


def _refused(backend: Backend, refused: list[str], error: QnnError) -> Refusal:
    if any("backend loading failed" in text for text in backend.log.errors()):
        return Refusal("worker", "the backend could not be loaded: raise the memory limit")
    reasons = refused or short_reasons(backend.log.errors()) or [str(error)]
    return Refusal("target", "; ".join(reasons), reasons=reasons)
