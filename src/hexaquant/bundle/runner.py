"""The Python runner of a bundle: needs numpy and Qualcomm's libraries, nothing else. Same options as the C program.

    python3 python/run.py --input-list input_list.txt --output results [--libraries DIR] [--stored] [--profile FILE]

This module and what it imports are copied into the bundle as they are (closure.py), so that a device computes with the
very code that the PC does.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hexaquant.bundle.model_file import ModelFile, read_model_file, result_files
from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError
from hexaquant.io.input_lines import read_array, read_input_lines, read_raw
from hexaquant.qnn.abi import ClientBuffer, Tensor
from hexaquant.qnn.backend import Backend, QnnError
from hexaquant.qnn.describe import describe_tensor
from hexaquant.qnn.libraries import KNOWN_RELEASES
from hexaquant.qnn.profile import CODES, Profile, Stage, write_profile
from hexaquant.qnn.system import System
from hexaquant.qnn.tensor_io import TensorSpec, ordered_specs, prepare, to_float

Library = TypeVar("Library")


@dataclass(frozen=True)
class Port:
    """A tensor of the graph with the buffer that the library reads or fills; ``position``: in the library's order."""

    spec: TensorSpec
    position: int
    tensor: Tensor
    array: np.ndarray


class Session:
    """One loaded model. Raises HexaquantError with a sentence for whatever is missing or damaged."""

    def __init__(self, model: ModelFile, libraries: Path | None, level: str | None) -> None:
        if sys.platform == "win32":
            raise EnvironmentLacksError("the Python runner needs Linux; on Windows use the C program")
        self.model, self.stages = model, list[Stage]()
        self._binary = _checked(model)
        self._system = _load(System, libraries, "libQnnSystem.so")
        self._backend = _load(
            lambda path: Backend(path, next(iter(KNOWN_RELEASES.values()))), libraries, "libQnnHtp.so"
        )
        graph = self._find_graph()
        self.inputs = _ports([graph.inputs[i] for i in range(graph.input_count)], model.inputs)
        self.outputs = _ports([graph.outputs[i] for i in range(graph.output_count)], model.outputs)
        self._profile = self._backend.new_profile(level)
        start = time.perf_counter_ns()
        context = self._backend.load_context(self._backend.device(), self._binary, self._profile)
        self._note("init", start)
        self._graph = self._backend.graph(context, model.graph)

    def _find_graph(self) -> ctypes.Structure:
        body = self._system.describe_binary(self._binary).body
        for index in range(body.graph_count):
            graph = body.graphs[index].body
            if graph.name == self.model.graph.encode():
                return graph
        raise InputError(f"{self.model.binary} holds no graph '{self.model.graph}'; copy the bundle again")

    def run(self, inputs: dict[str, np.ndarray], stored: bool) -> dict[str, np.ndarray]:
        """Outputs by name, floats unless ``stored``."""
        for port in self.inputs:
            np.copyto(port.array, prepare(inputs[port.spec.name], port.spec, not stored).reshape(port.array.shape))
        start = time.perf_counter_ns()
        ins = _in_graph_order(self.inputs)
        outs = _in_graph_order(self.outputs)
        self._backend.execute(self._graph, ins, outs, self._profile)
        self._note("execute", start)
        return {p.spec.name: p.array.copy() if stored else to_float(p.array, p.spec) for p in self.outputs}

    def _note(self, kind: str, start: int) -> None:
        if self._profile is not None:
            took = (time.perf_counter_ns() - start) // 1000
            self.stages.append(Stage(kind, self.model.graph, took, self._backend.events(self._profile)))


def _checked(model: ModelFile) -> np.ndarray:
    """The bytes of the binary. Raises InputError when they are not those that model.txt records."""
    try:
        binary = np.fromfile(model.binary, np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {model.binary} ({error.strerror}); copy the bundle again") from None
    if hashlib.sha256(binary.data).hexdigest() != model.sha256:
        raise InputError(f"{model.binary} is damaged: its SHA-256 is not the one in model.txt; copy it again")
    return binary


def _load(make: Callable[[Path], Library], folder: Path | None, name: str) -> Library:
    """``make`` of the library ``name``, from ``folder`` or where the system's loader looks."""
    try:
        return make(Path(name) if folder is None else folder / name)
    except OSError as error:
        raise EnvironmentLacksError(f"{name} does not load ({error}); README.md says where it comes from") from None


def _ports(tensors: Sequence[Tensor], names: Sequence[tuple[str, str]]) -> list[Port]:
    """In the order of ``names``."""
    infos = [describe_tensor(tensor) for tensor in tensors]
    positions = {info.name: position for position, info in enumerate(infos)}
    ports = []
    for spec in ordered_specs(infos, names):
        position = positions[spec.lowered or spec.name]
        tensor = Tensor.from_buffer_copy(tensors[position])
        array = np.zeros(spec.shape or (1,), spec.dtype)
        tensor.body.memory_type = 0
        tensor.body.buffer.client = ClientBuffer(ctypes.c_void_p(array.ctypes.data), array.nbytes)
        ports.append(Port(spec, position, tensor, array))
    return ports


def _in_graph_order(ports: Sequence[Port]) -> list[Tensor]:
    return [port.tensor for port in sorted(ports, key=lambda port: port.position)]


def samples(path: Path, specs: Sequence[TensorSpec], stored: bool) -> Iterator[dict[str, np.ndarray]]:
    """The inferences of an input list; a file may hold several. Raises InputError naming the line."""
    for line in read_input_lines(path, [spec.name for spec in specs]).lines:
        arrays = {spec.name: _read(line.files[spec.name], spec, stored) for spec in specs}
        if len({len(array) for array in arrays.values()}) != 1:
            raise InputError(f"{line.where}: the files hold different numbers of samples")
        for index in range(len(arrays[specs[0].name])):
            yield {name: array[index] for name, array in arrays.items()}


def _read(path: Path, spec: TensorSpec, stored: bool) -> np.ndarray:
    """The samples (N, ...) of one file: floats of quantized and of float inputs, else the input's own integers."""
    dtype = spec.dtype if stored else np.dtype(np.float32)
    data = read_array(path) if path.suffix == ".npy" else read_raw(path, spec.name, spec.shape, dtype)
    fits = spec.shape[1:] in (data.shape, data.shape[1:]) or data.shape[1:] == spec.shape
    if not fits or data.size % (spec.nbytes // spec.dtype.itemsize) or (stored and data.dtype != dtype):
        raise InputError(
            f"{path} holds {data.dtype} of shape {list(data.shape)} but a sample of input '{spec.name}' is "
            f"{list(spec.shape)}{f' of {dtype}' if stored else ''}; write it again"
        )
    data = data.reshape((-1, *spec.shape))
    as_float = spec.scale is not None or spec.dtype.kind == "f"
    return data if stored else data.astype(np.float32 if as_float else spec.dtype)


def run(arguments: argparse.Namespace) -> int:
    """Run the list; the number of inferences."""
    model = read_model_file(arguments.bundle)
    session = Session(model, arguments.libraries, arguments.level if arguments.profile else None)
    files = result_files([port.spec.name for port in session.outputs])
    count = 0
    for count, sample in enumerate(
        samples(arguments.input_list, [p.spec for p in session.inputs], arguments.stored), 1
    ):
        folder = arguments.output / f"Result_{count - 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in session.run(sample, arguments.stored).items():
            array.tofile(folder / files[name])
    if arguments.profile:
        write_profile(arguments.profile, Profile("hexaquant runner", arguments.level, model.soc, tuple(session.stages)))
    return count


def main(words: Sequence[str] | None = None) -> int:
    """The program; exit codes as everywhere: 2 bad input, 4 something is missing, 70 a failed execution."""
    parser = argparse.ArgumentParser(description="Run a model on the files of an input list.")
    parser.add_argument("--input-list", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=Path())
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--stored", action="store_true")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--level", choices=list(CODES), default="basic")
    try:
        print(run(parser.parse_args(words)))
    except HexaquantError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except QnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 70
    return 0
