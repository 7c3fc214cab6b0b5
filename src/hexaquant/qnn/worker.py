"""A long-lived child that holds one context binary and executes it: ``python -m hexaquant.qnn.worker``.

Reads a JSON line (binary, soc_model, graph, memory_mb, profiling) and then tensor and profile messages from stdin;
answers on the original stdout. Ends when stdin closes.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from hexaquant.qnn.abi import ClientBuffer, Tensor
from hexaquant.qnn.backend import Backend, QnnError
from hexaquant.qnn.channel import ERROR, HELLO, PROFILE, TENSORS, ChannelClosed, receive, send
from hexaquant.qnn.child import limit_memory, silence_stdout
from hexaquant.qnn.inspect_job import read_binary
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.profile import Stage
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.system import System
from hexaquant.qnn.tensor_io import NATIVE_DTYPES


class Session:
    """One loaded graph with a buffer for each input and output."""

    def __init__(self, spec: dict[str, Any]) -> None:
        libraries = find_libraries()
        self._binary = np.fromfile(spec["binary"], np.uint8)
        self._system = System(libraries.system)
        self.info = read_binary(self._system, self._binary)
        self.backend = Backend(libraries.htp, libraries.abi)
        body = self._system.describe_binary(self._binary).body
        index = _graph_index([graph.name for graph in self.info.graphs], spec.get("graph"))
        self.record = self.info.graphs[index]
        device = self.backend.device(spec["soc_model"] or self.info.soc_model or None)
        self._profiled = spec.get("profiling") is not None
        self._profile = self.backend.new_profile(spec.get("profiling"))
        self.stages: list[Stage] = []
        start = time.perf_counter_ns()
        context = self.backend.load_context(device, self._binary, self._profile)
        self._note("init", start)
        self.graph = self.backend.graph(context, self.record.name)
        graph = body.graphs[index].body
        self.inputs = [_Port(graph.inputs[i]) for i in range(graph.input_count)]
        self.outputs = [_Port(graph.outputs[i]) for i in range(graph.output_count)]

    def run(self, payload: bytearray) -> list[memoryview]:
        """Execute once; ``payload`` holds all inputs, the answer all outputs, in graph order."""
        start = 0
        for port in self.inputs:
            port.array.view(np.uint8).reshape(-1)[:] = np.frombuffer(payload, np.uint8, port.array.nbytes, start)
            start += port.array.nbytes
        ins = [p.tensor for p in self.inputs]
        outs = [p.tensor for p in self.outputs]
        began = time.perf_counter_ns()
        self.backend.execute(self.graph, ins, outs, self._profile)
        self._note("execute", began)
        return [port.array.reshape(-1).view(np.uint8).data for port in self.outputs]

    def _note(self, kind: str, start: int) -> None:
        """Remember what was measured since ``start`` (ns), where that is wanted."""
        took = (time.perf_counter_ns() - start) // 1000
        if self._profiled:
            self.stages.append(Stage(kind, self.record.name, took, self.backend.events(self._profile)))

    @property
    def input_bytes(self) -> int:
        return sum(port.array.nbytes for port in self.inputs)


class _Port:
    """A graph tensor bound to its own numpy buffer."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = Tensor.from_buffer_copy(tensor)
        body = self.tensor.body
        shape = tuple(body.dimensions[i] for i in range(body.rank))
        self.array = np.zeros(shape or (1,), NATIVE_DTYPES[body.data_type])
        body.memory_type = 0
        body.buffer.client = ClientBuffer(ctypes.c_void_p(self.array.ctypes.data), self.array.nbytes)


def _graph_index(names: list[str], wanted: str | None) -> int:
    if wanted is None:
        return 0
    if wanted not in names:
        raise Refusal("input", f"the binary holds no graph '{wanted}', only {', '.join(names)}")
    return names.index(wanted)


def serve(requests: int, answers: int, session: Session) -> None:
    """Answer messages until the other side closes."""
    while True:
        kind, payload = receive(requests)
        if kind == PROFILE:
            send(answers, PROFILE, [json.dumps([asdict(stage) for stage in session.stages]).encode()])
            continue
        try:
            if len(payload) != session.input_bytes:
                raise Refusal("worker", f"{len(payload)} bytes arrived where the graph takes {session.input_bytes}")
            send(answers, TENSORS, session.run(payload))
        except QnnError as error:
            _send_error(answers, "worker", f"execution failed: {error}")
        except Refusal as error:
            _send_error(answers, error.kind, error.message)


def _send_error(answers: int, kind: str, message: str) -> None:
    send(answers, ERROR, [json.dumps({"kind": kind, "message": message}).encode()])


def _read_line(descriptor: int) -> bytes:
    """One line, byte by byte: what follows belongs to the messages."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise ChannelClosed
        line += byte
    return bytes(line)


def main() -> None:
    answers = silence_stdout()
    try:
        spec = json.loads(_read_line(0))
        limit_memory(spec["memory_mb"])
        try:
            session = Session(spec)
        except Refusal as error:
            _send_error(answers, error.kind, error.message)
            return
        except QnnError as error:
            _send_error(answers, "input", f"the library does not load it: {error}")
            return
        hello = {"info": session.info.to_json(), "graph": session.record.name}
        send(answers, HELLO, [json.dumps(hello).encode()])
        serve(0, answers, session)
    except ChannelClosed:
        return
    finally:
        sys.stderr.flush()
        os._exit(0)  # library destructors crash at times


if __name__ == "__main__":
    main()
