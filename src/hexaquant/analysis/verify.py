"""verify: the same samples through FP32 (onnxruntime), the simulation, and the target's emulator (or NPU)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch

from hexaquant.analysis.compare import BACKENDS, Comparison
from hexaquant.analysis.metrics import Metric, each_label, each_part
from hexaquant.analysis.onnx_session import OnnxSession
from hexaquant.core import html
from hexaquant.core.atomic import atomic_path, write_bytes
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.io.batches import take_labelled
from hexaquant.io.dataset import Dataset, sample_hash
from hexaquant.ir.input_spec import sample_count
from hexaquant.ir.output_slices import output_slices
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.pool import Pool
from hexaquant.sim.model import QuantizedModel

# The report of a verification: the document of verify.json, which a notebook shows as a table.

SIDES = (("fp32", "FP32"), ("sim", "simulation"), ("target", "target"))


class VerifyReport(dict[str, Any]):
    """A plain dictionary with the entries of verify.json."""

    def _repr_html_(self) -> str:
        head = f"{self['scheme']} on {self['target']}, {self['samples']} samples"
        columns = ["", *(label for _, label in SIDES)]
        shown = html.heading(head) + html.paragraph(str(self["data"])) + html.table(columns, self._rows())
        if self["random_data"]:
            shown += html.heading("Calibrated on random noise: these figures say nothing about accuracy.")
        return shown

    def _rows(self) -> list[list[str]]:
        scores = self["metrics"]
        rows = []
        if scores["target"] is not None:
            flips = self["flips"]
            rows.append([str(self["metric"]), *(f"{scores[key]:.4f}" for key, _ in SIDES)])
            rows.append(["samples worse, better than FP32", "", "", f"{flips['worse']}, {flips['better']}"])
        for output in self["outputs"]:
            name = output["name"]
            sqnr = [_db(output["fp32_vs_sim_sqnr_db"]), _db(output["fp32_vs_target_sqnr_db"])]
            rows.append([f"SQNR of {name} against FP32", "", *sqnr])
            for part in output.get("slices", ()):
                told = _db(part["fp32_vs_sim_sqnr_db"]), _db(part["fp32_vs_target_sqnr_db"])
                rows.append([f"SQNR of {part['name']} in {name} ({part['start']}..{part['stop'] - 1})", "", *told])
            rows.append([f"SQNR of {name} against simulation", "", "", _db(output["sim_vs_target_sqnr_db"])])
        return rows


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"


Arrays = dict[str, np.ndarray]


class Executor(Protocol):
    """What runs samples in the place of this PC's pool, such as a device; ``size``: samples it takes at once."""

    size: int

    def map(self, items: Iterable[Arrays]) -> Iterator[Arrays]:
        """Outputs in the order of ``items``."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Sample:
    """What one run of the network takes: one sample, or ``run`` where the batch holds more, of which the first
    ``count`` count; a label for each, or None; the content's hash.
    """

    inputs: Arrays
    labels: tuple[Any, ...] | None
    digest: str
    count: int = 1
    run: int = 1

    def each(self, *outputs: Arrays) -> Iterator[tuple[Any, list[Arrays]]]:
        """For each sample its label and, of each of ``outputs``, its part (analysis.metrics.each_part)."""
        parts = zip(*(each_part(arrays, self.run) for arrays in outputs), strict=True)
        for index, found in enumerate(islice(parts, self.count)):
            yield None if self.labels is None else self.labels[index], list(found)


class TargetCache:
    """Outputs of the target by what made them, so that an interrupted run resumes: Qualcomm's release, the bytes of
    binary and sample, the device (empty: this PC's emulator).

    Each entry begins with the SHA-256 of those and of its content. One that does not fit is measured again.
    """

    def __init__(self, folder: Path, binary: Path, device: str = "", events: Events | None = None) -> None:
        with binary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._maker = json.dumps([find_libraries().release, digest, device])
        self._events = events or Events()
        self.folder = folder / hashlib.sha256(self._maker.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest[:32]}.outputs"

    def _seal(self, digest: str, body: bytes) -> bytes:
        return hashlib.sha256(f"{self._maker} {digest} ".encode() + body).hexdigest().encode()

    def get(self, digest: str) -> Arrays | None:
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        seal = content[:64]
        body = content[64:]
        if seal != self._seal(digest, body):
            self._events.note("verify", f"warning: {path} was altered or damaged; that sample is measured again")
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            return {name: file[f"{index}"] for index, name in enumerate(file["names"].tolist())}

    def put(self, digest: str, outputs: Arrays) -> None:
        body = io.BytesIO()
        arrays = {f"{index}": array for index, array in enumerate(outputs.values())}
        np.savez(body, names=np.array(list(outputs)), **arrays)  # type: ignore[arg-type]
        write_bytes(self._path(digest), self._seal(digest, body.getvalue()) + body.getvalue())


def verify(
    model: QuantizedModel,
    reference: Path,
    binary: Path,
    data: Dataset,
    *,
    metric: Metric | None = None,
    limit: int | None = None,
    workers: int | None = None,
    soc: int | None = None,
    batch: int = 1,
    cache: Path | None = None,
    device: Executor | None = None,
    events: Events | None = None,
) -> Comparison:
    """Compare FP32, simulation and target on the first ``limit`` samples of ``data``.

    ``reference``: the FP32 ONNX file; ``binary``: the context binary, refused when it is not for the SoC model
    ``soc``; ``batch``: what it was compiled for where the network takes any, the last one filled up; ``cache``: folder
    for the target's outputs; ``device``: runs the samples instead of this PC.
    Progress goes to ``events`` as task "verify".
    """
    float_reference = OnnxSession(reference)
    encodings = model.encodings()
    steps = {name: _step(encodings.get(name)) for name in float_reference.names}
    comparison = Comparison(steps, metric, output_slices(model.source_graph))
    where = "" if device is None else str(getattr(device, "name", type(device).__name__))
    store = TargetCache(cache, binary, where, events) if cache is not None else None
    total = _runs(data, limit, batch)
    with device or Pool(binary, workers=workers, soc=soc) as pool:
        pairs = _run_target(pool, _samples(data, limit, batch), store, pool.size)
        for sample, on_target in (events or Events()).track(pairs, "verify", total):
            fp32 = float_reference.run(sample.inputs)
            simulated = simulate(model, sample.inputs, float_reference.names)
            for label, outputs in sample.each(fp32, simulated, on_target):
                comparison.add(dict(zip(BACKENDS, outputs, strict=True)), label)
    if not comparison.samples:
        raise InputError(f"{data.source} is empty: give at least one sample to verify with")
    return comparison


def _step(encoding: Any) -> float | None:
    return None if encoding is None or encoding.grid.is_float else float(encoding.scale)


def simulate(model: QuantizedModel, inputs: Mapping[str, np.ndarray], names: list[str]) -> Arrays:
    """Outputs of the simulation by name."""
    with torch.inference_mode():
        result = model(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()})
    tensors = [result] if isinstance(result, torch.Tensor) else list(result)
    return {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}


def collect_samples(data: Dataset, limit: int | None) -> list[Sample]:
    """The first ``limit`` samples of ``data``, in memory."""
    return list(_samples(data, limit))


def _runs(data: Dataset, limit: int | None, batch: int) -> int | None:
    """How often the network is run, None where only a pass can tell."""
    samples = limit if data.samples is None else min(limit or data.samples, data.samples)
    return None if samples is None else -(-samples // (data.fixed_batch or batch))


def _samples(data: Dataset, limit: int | None, size: int = 1) -> Iterator[Sample]:
    left = limit
    for batch, labels in data.labelled(size):
        count = sample_count(batch, data.specs)
        each = None if labels is None else tuple(each_label(labels))
        parts = count if each is None else len(each)  # a sample may be several rows, each with its label
        kept = parts if left is None else min(parts, left)
        if count < size and data.fixed_batch is None:
            batch, _ = take_labelled(batch, None, data.specs, np.minimum(np.arange(size), count - 1))
            parts = sample_count(batch, data.specs)
        yield Sample(dict(batch), each, sample_hash(batch).hexdigest(), kept, parts)
        left = None if left is None else left - kept
        if left == 0:
            return


def _run_target(
    pool: Pool | Executor, samples: Iterator[Sample], store: TargetCache | None, chunk: int
) -> Iterator[tuple[Sample, Arrays]]:
    """Samples with their outputs on the target, in order; cached ones are not run again."""
    waiting: list[Sample] = []
    for sample in samples:
        waiting.append(sample)
        if len(waiting) == chunk:
            yield from _run_chunk(pool, waiting, store)
            waiting = []
    yield from _run_chunk(pool, waiting, store)


def _run_chunk(
    pool: Pool | Executor, chunk: list[Sample], store: TargetCache | None
) -> Iterator[tuple[Sample, Arrays]]:
    known = {sample.digest: store.get(sample.digest) if store else None for sample in chunk}
    fresh = iter(pool.map([sample.inputs for sample in chunk if known[sample.digest] is None]))
    for sample in chunk:
        outputs = known[sample.digest]
        if outputs is None:
            outputs = next(fresh)
            if store:
                store.put(sample.digest, outputs)
        yield sample, outputs


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write ``verify.json`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
