"""One process that holds a context binary: numpy in, numpy out, on the emulator (x86) or the NPU (on a device)."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hexaquant.core.child_process import scratch_folder
from hexaquant.core.errors import InputError, WorkerError
from hexaquant.folder.manifest import check_integrity, recorded_io
from hexaquant.qnn.channel import ERROR, HELLO, PROFILE, TENSORS, ChannelClosed, ChannelTimeout, receive, send
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.log_text import last_lines
from hexaquant.qnn.process import ERROR_KINDS, child_seconds, close_pipes, describe_exit, end_group, start_child
from hexaquant.qnn.profile import Level, Stage, stages_from_json
from hexaquant.qnn.records import BinaryInfo, TensorInfo
from hexaquant.qnn.tensor_io import Inputs, TensorSpec, batch_factor, bind_inputs, ordered_specs, prepare, to_float


@dataclass(frozen=True)
class ProcessOptions:
    """How a process holds a binary; the options of Runtime that are for each of its processes, explained there."""

    timeout_s: float | None = None
    float_io: bool = True
    soc: int | None = None
    graph: str | None = None
    memory_mb: int = 16_000
    profiling: Level | None = None


class RuntimeProcess:
    """A compiled network ready to run, in a process of its own, one request at a time; a context manager.

    Names and order of inputs and outputs are the ONNX file's where ``manifest.json`` beside the binary records them
    (sections.lower.io), else the binary's own.
    Raises InputError for damaged or foreign binaries, WorkerError when the library crashes or takes too long.
    """

    def __init__(self, path: str | Path, options: ProcessOptions = ProcessOptions()) -> None:
        self.path = Path(path)
        self.timeout_s = child_seconds() if options.timeout_s is None else options.timeout_s
        self.float_io = options.float_io
        if not self.path.is_file():
            raise InputError(f"{path} does not exist: compile the model first")
        find_libraries()
        check_integrity(self.path)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._busy = threading.RLock()
        self._folder = scratch_folder()
        self._child = start_child("hexaquant.qnn.worker", self._stderr, self._folder.name)
        try:
            self.info, name = self._start(options)
            self._require_soc(options.soc)
        except BaseException:
            self.close()
            raise
        self.graph = name
        record = next(g for g in self.info.graphs if g.name == name)
        io = recorded_io(self.path, name) or {}
        self.inputs = ordered_specs(record.inputs, io.get("inputs", ()))
        self.outputs = ordered_specs(record.outputs, io.get("outputs", ()))
        self._graph_inputs = _in_graph_order(self.inputs, record.inputs)
        self._graph_outputs = _in_graph_order(self.outputs, record.outputs)

    def _start(self, options: ProcessOptions) -> tuple[BinaryInfo, str]:
        wanted = {"graph": options.graph, "memory_mb": options.memory_mb, "profiling": options.profiling}
        spec = {"binary": str(self.path.resolve()), "soc_model": None, **wanted}
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(spec).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self._dead("loading") from None
        payload = self._answer(HELLO, "loading")
        hello = json.loads(payload)
        return BinaryInfo.from_json(hello["info"]), hello["graph"]

    def _require_soc(self, soc: int | None) -> None:
        if soc is not None and self.info.soc_model != soc:
            raise InputError(
                f"{self.path.name} was compiled for SoC model {self.info.soc_model}, not {soc}: compile it for that SoC"
            )

    def run(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Outputs by name. Inputs: a mapping, a list in graph order, or the array of the only input.

        First axes that are a multiple of the compiled batch are run piece by piece and joined again.
        """
        arrays = bind_inputs(inputs, self.inputs)
        pieces = batch_factor(arrays, self.inputs)
        stored = [prepare(arrays[spec.name], spec, self.float_io) for spec in self._graph_inputs]
        runs = []
        for index in range(pieces):
            runs.append(self._run_once([_piece(a, spec, index, pieces) for a, spec in zip(stored, self._graph_inputs)]))
        joined = runs[0] if pieces == 1 else [np.concatenate(parts) for parts in zip(*runs)]
        found = {spec.name: self._outward(array, spec) for spec, array in zip(self._graph_outputs, joined)}
        return {spec.name: found[spec.name] for spec in self.outputs}

    @property
    def alive(self) -> bool:
        """False when the process has ended, by itself or by close()."""
        return self._child.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._child.pid

    def profile(self) -> tuple[Stage, ...]:
        """What was measured of loading and of every execution so far; empty without ``profiling``."""
        with self._busy:
            if self._child.stdin is None or self._child.stdin.closed:
                raise WorkerError(f"the runtime of {self.path.name} is closed: make a new one")
            try:
                send(self._child.stdin.fileno(), PROFILE, [])
            except ChannelClosed:
                raise self._dead("profiling") from None
            return stages_from_json(json.loads(self._answer(PROFILE, "profiling")))

    def _outward(self, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
        return to_float(array, spec) if self.float_io else array

    def _run_once(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self._busy:
            return self._exchange(arrays)

    def _exchange(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self._child.stdin is None or self._child.stdin.closed:
            raise WorkerError(f"the runtime of {self.path.name} is closed: make a new one")
        try:
            send(self._child.stdin.fileno(), TENSORS, [a.reshape(-1).view(np.uint8).data for a in arrays])
        except ChannelClosed:
            raise self._dead("running") from None
        payload = self._answer(TENSORS, "running")
        outputs = []
        start = 0
        for spec in self._graph_outputs:
            flat = np.frombuffer(payload, spec.dtype, spec.nbytes // spec.dtype.itemsize, start)
            outputs.append(flat.reshape(spec.shape))
            start += spec.nbytes
        return outputs

    def _answer(self, wanted: int, doing: str) -> bytearray:
        assert self._child.stdout is not None
        try:
            kind, payload = receive(self._child.stdout.fileno(), self.timeout_s)
        except ChannelTimeout:
            self.close()
            message = f"{doing} {self.path.name} took longer than {self.timeout_s:g} s and was ended: raise the limit"
            raise WorkerError(message) from None
        except (ChannelClosed, OSError, ValueError):
            raise self._dead(doing) from None
        if kind == wanted:
            return payload
        error: dict[str, Any] = json.loads(payload) if kind == ERROR else {"kind": "worker", "message": "a lost answer"}
        raise ERROR_KINDS[error["kind"]](f"{self.path.name}: {error['message']}")

    def _dead(self, doing: str) -> WorkerError:
        try:
            code = self._child.wait(5)
        except Exception:
            code = 0
        told = "" if self._stderr.closed else last_lines(self._read_stderr(), 3)
        self.close()
        return WorkerError(
            f"the process {doing} {self.path.name} {describe_exit(code)}{f' after: {told}' if told else ''}"
        )

    def _read_stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def close(self) -> None:
        """End the process. Safe to call twice and from another thread (a waiting run then fails)."""
        end_group(self._child)
        with self._busy:  # a waiting run has seen the end of the pipe by now and lets go
            close_pipes(self._child)
            self._stderr.close()
            self._folder.cleanup()

    def __enter__(self) -> RuntimeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _in_graph_order(specs: Sequence[TensorSpec], tensors: Sequence[TensorInfo]) -> list[TensorSpec]:
    by_name = {spec.lowered or spec.name: spec for spec in specs}
    return [by_name[tensor.name] for tensor in tensors]


def _piece(array: np.ndarray, spec: TensorSpec, index: int, pieces: int) -> np.ndarray:
    if pieces == 1:
        return array
    size = spec.shape[0]
    return array[index * size : (index + 1) * size]
