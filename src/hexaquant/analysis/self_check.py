"""Every compile checks itself: two samples through the quantized ONNX model in onnxruntime, and through the binary.

The same integers take the same way in both, so that outputs differ by roundings of the target's kernels alone (30 dB
and more on every network measured). What the target computes wrong in silence is far below; ``analysis/parting.py``
names the first layer. What onnxruntime gave is kept beside the DLC (``<dlc>.check.npz``), so that every binary of that
DLC, made by whichever program, is held against it.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.onnx_session import OnnxSession
from hexaquant.core.archive import ARCHIVE_ERRORS
from hexaquant.core.atomic import atomic_path
from hexaquant.core.metrics import Sqnr
from hexaquant.htp.qdq_view import View
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import InputSpec, input_specs
from hexaquant.qnn.runtime import Runtime

SAMPLES = 2
LEAST_DB = 15.0
LEAST_DB_4_BITS = 10.0
"""SQNR of the target against onnxruntime below which a binary computes something else; with 4-bit weights, whose
products the target adds up more coarsely (qnn facts in docs/measurements.md), the second."""
LEAST_STEPS = 1.0
"""An error below so many steps of the output's grid (root mean square) is rounding, whatever its dB: an output that is
only a few steps tall has no better."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Expected:
    """What a binary of the DLC with digest ``dlc`` must compute: input -> array and output -> array of each sample.

    ``steps``: of the grid of each output that has one; ``least_db``: the bar; ``noise``: the samples are noise.
    """

    inputs: tuple[Arrays, ...]
    outputs: tuple[Arrays, ...]
    steps: dict[str, float]
    least_db: float
    noise: bool
    dlc: str = ""

    def departures(self, got: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        """Output -> dB of those that are not what is expected. Outputs that hold no floats (ids) are not judged: a
        tie between two candidates is no fault."""
        found: dict[str, float] = {}
        for name, first in self.outputs[0].items():
            if first.dtype.kind != "f" or not all(np.isfinite(sample[name]).all() for sample in self.outputs):
                continue
            meter = Sqnr()
            values = 0
            for wanted, have in zip(self.outputs, got, strict=True):
                meter.add(wanted[name], np.asarray(have[name]).reshape(wanted[name].shape))
                values += wanted[name].size
            rms = math.sqrt(meter.noise / max(values, 1))
            if not meter.db >= self.least_db and rms > LEAST_STEPS * self.steps.get(name, 0.0):
                found[name] = meter.db
        return found


def expect(qdq: Graph, samples: Iterable[Mapping[str, np.ndarray]] | None, dlc: str = "") -> Expected:
    """What ``qdq`` (static; float networks too) gives for the first SAMPLES of ``samples``, by onnxruntime without
    its optimizations; for noise within the inputs' encodings where there are none.
    """
    given = [] if samples is None else [dict(sample) for sample in islice(samples, SAMPLES)]
    inputs = [_fitting(sample, input_specs(qdq)) for sample in given] or _noise(qdq)
    with tempfile.TemporaryDirectory(prefix="hexaquant-check-") as folder:
        path = Path(folder) / "model.onnx"
        qdq.save(path)
        session = OnnxSession(path, optimized=False)
        outputs = tuple(session.run(sample) for sample in inputs)
    view = View(qdq.model.graph)
    steps = {value.name or "": _step(view, value) for value in qdq.outputs}
    least = LEAST_DB_4_BITS if _has_4_bit_weights(qdq) else LEAST_DB
    return Expected(tuple(inputs), outputs, {n: s for n, s in steps.items() if s}, least, not given, dlc)


def _step(view: View, value: oir.Value) -> float:
    encoding = view.encoding(value)
    scale = None if encoding is None else view.number(encoding[0])
    return scale or 0.0


def _has_4_bit_weights(qdq: Graph) -> bool:
    return any(value.dtype in (oir.DataType.INT4, oir.DataType.UINT4) for value in qdq.initializers.values())


def _fitting(sample: Mapping[str, np.ndarray], specs: Sequence[InputSpec]) -> Arrays:
    """The one sample, repeated where the graph was compiled for a batch."""
    fitting = {}
    for spec in specs:
        array = np.asarray(sample[spec.name], spec.dtype)
        missing = [int(d) // have for d, have in zip(spec.shape, array.shape) if isinstance(d, int)]
        fitting[spec.name] = np.tile(array, missing) if any(times != 1 for times in missing) else array
    return fitting


def _noise(qdq: Graph) -> list[Arrays]:
    """Uniform within the encoding of each input, standard normal where it is float, zeros and ones for integers."""
    rng = np.random.default_rng(0)
    view = View(qdq.model.graph)
    spans = {value.name: view.span(value) for value in qdq.inputs}
    found = []
    for _ in range(SAMPLES):
        sample = {}
        for spec in input_specs(qdq):
            shape = spec.static_sample_shape() if spec.axis is None else tuple(int(d or 1) for d in spec.shape)
            span = spans.get(spec.name)
            if spec.dtype.kind != "f":
                sample[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
                continue
            drawn = rng.standard_normal(shape) if span is None else rng.uniform(*span, shape)
            sample[spec.name] = drawn.astype(spec.dtype)
        found.append(sample)
    return found


def run_binary(binary: Path, samples: Sequence[Mapping[str, np.ndarray]], soc: int, graph: str | None) -> list[Arrays]:
    """Outputs of each sample by name, from one process of the emulator."""
    with Runtime(binary, workers=1, soc=soc, graph=graph) as runtime:
        return [dict(outputs) for outputs in runtime.map(dict(sample) for sample in samples)]


def check_file(dlc: Path) -> Path:
    """<dlc>.check.npz"""
    return dlc.with_name(dlc.name + ".check.npz")


def keep_expected(path: Path, expected: Expected) -> None:
    """Write ``expected`` to ``path``, atomically."""
    about = {"steps": expected.steps, "least_db": expected.least_db, "noise": expected.noise, "dlc": expected.dlc}
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
    for kind, samples in (("input", expected.inputs), ("output", expected.outputs)):
        for index, sample in enumerate(samples):
            arrays |= {f"{kind} {index} {name}": array for name, array in sample.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def kept_expected(dlc: Path, digest: str) -> Expected | None:
    """What is kept beside ``dlc``; None where nothing is, where it is of another DLC, or where it cannot be read."""
    try:
        with np.load(check_file(dlc), allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in file.files if name != "about"}
    except (*ARCHIVE_ERRORS, OSError, KeyError):
        return None
    if about.get("dlc") != digest:
        return None
    inputs = _unpacked(arrays, "input")
    outputs = _unpacked(arrays, "output")
    return Expected(inputs, outputs, about["steps"], about["least_db"], about["noise"], digest)


def _unpacked(arrays: Mapping[str, np.ndarray], kind: str) -> tuple[Arrays, ...]:
    samples: dict[int, Arrays] = {}
    for key, array in arrays.items():
        word, index, name = key.split(" ", 2)
        if word == kind:
            samples.setdefault(int(index), {})[name] = array
    return tuple(samples[index] for index in sorted(samples))
