"""The ways from one network to the NPU, side by side on the same samples: which carrier, scheme, granularity, O level.

Two carriers of the same encodings: the network with an encodings file (--quantization_overrides), or with QDQ nodes.
Where two ways end in byte-identical binaries, the second is not run again: its figures are the first's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from hexaquant.analysis.compare import finite
from hexaquant.analysis.metrics import Metric
from hexaquant.analysis.onnx_session import OnnxSession
from hexaquant.analysis.verify import Arrays, Sample, collect_samples
from hexaquant.api.convert import convert, read_network
from hexaquant.api.estimate import DEFAULT_SOC, estimate_dlc, soc_name, soc_number
from hexaquant.api.quantize import quantize
from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.core.events import Events
from hexaquant.core.metrics import Sqnr
from hexaquant.folder.artifacts import ENCODINGS, MODEL, QDQ
from hexaquant.htp.soc import DEFAULT_TARGET, Target, find_target
from hexaquant.io.dataset import Dataset
from hexaquant.ir.graph import Graph
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.runtime import Runtime

CARRIERS = ("overrides", "QDQ nodes")
GRANULARITIES = ("channel", "tensor")
SCHEMES = ("w8a8", "w8a16")


@dataclass(frozen=True)
class Way:
    """One row. ``granularity``: one scale per channel or a tensor of weights."""

    scheme: str
    granularity: str
    carrier: str
    o_level: int


@dataclass(frozen=True)
class Score:
    """Against FP32, over all outputs and samples. ``sqnr_db``: None where identical; ``agreement``: of the largest
    value of the first output; ``metric``: None without labels."""

    sqnr_db: float | None
    agreement: float
    metric: float | None


def compare_converters(
    graph: Graph,
    data: Dataset,
    *,
    target: str | Target = DEFAULT_TARGET,
    schemes: Sequence[str] = SCHEMES,
    granularities: Sequence[str] = GRANULARITIES,
    o_levels: Sequence[int] = (1, 2, 3),
    recipe: str = "fast",
    metric: tuple[str, Metric] | None = None,
    limit: int | None = None,
    estimate_soc: str = DEFAULT_SOC,
    events: Events | None = None,
) -> dict[str, Any]:
    """A document with a row for each way; ways that the target refuses have an error in place of figures.

    ``data`` calibrates, and its first ``limit`` samples measure. Raises InputError for bad data or names.
    """
    soc = find_target(target)
    log = events or Events()
    number = soc_number(estimate_soc)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hexaquant-ways-") as folder:
        bench = Bench(graph, data, limit, metric, Path(folder))
        pairs = list(product(schemes, granularities))
        for scheme, granularity in log.track(pairs, "compare"):
            work = Path(folder) / f"{scheme}-{granularity}"
            try:
                _quantize(graph, data, scheme, granularity, soc, recipe, work)
            except HexaquantError as error:
                rows += [_failed(Way(scheme, granularity, c, o), error) for c, o in product(CARRIERS, o_levels)]
                continue
            for carrier in CARRIERS:
                rows += _rows(bench, work, scheme, granularity, carrier, soc, o_levels, number)
        reference = bench.reference_score()
    return {
        "network": graph.source,
        "target": soc.name,
        "samples": sum(sample.count for sample in bench.samples),
        "data": data.source,
        "metric": None if metric is None else metric[0],
        "fp32": reference,
        "estimate_soc": soc_name(number),
        "rows": rows,
    }


def _quantize(
    graph: Graph, data: Dataset, scheme: str, granularity: str, soc: Target, recipe: str, folder: Path
) -> None:
    settings = {"*": {"granularity": "tensor"}} if granularity == "tensor" else None
    quantize(graph, data, target=soc, scheme=scheme, recipe=recipe, overrides=settings).export(folder)


class Bench:
    """The samples and what FP32 says to them; ``known``: figures of binaries that were run, by SHA-256."""

    def __init__(
        self, graph: Graph, data: Dataset, limit: int | None, metric: tuple[str, Metric] | None, folder: Path
    ) -> None:
        self.samples: list[Sample] = collect_samples(data, limit)
        if not self.samples:
            raise InputError(f"{data.source} is empty: give at least one sample to compare with")
        self._metric = None if metric is None else metric[1]
        graph.save(folder / "fp32.onnx")
        reference = OnnxSession(folder / "fp32.onnx")
        self._wanted = [reference.run(sample.inputs) for sample in self.samples]
        self._names = reference.names
        self.known: dict[str, dict[str, Any]] = {}

    def score(self, binary: Path) -> Score:
        """Of a context binary, which is run on every sample."""
        with Runtime(binary) as runtime:
            return self._judge(list(runtime.map(sample.inputs for sample in self.samples)))

    def reference_score(self) -> float | None:
        """FP32's own metric."""
        return self._judge(self._wanted).metric

    def _judge(self, found: Sequence[Arrays]) -> Score:
        meter = Sqnr()
        same = []
        scores = []
        for sample, fp32, target in zip(self.samples, self._wanted, found, strict=True):
            for label, (wanted, outputs) in sample.each(fp32, target):
                for name in self._names:
                    meter.add(wanted[name], outputs[name])
                first = self._names[0]
                same.append(np.argmax(wanted[first]) == np.argmax(outputs[first]))
                if self._metric is not None and label is not None:
                    scores.append(float(self._metric({n: outputs[n] for n in self._names}, label)))
        return Score(finite(meter.db), float(np.mean(same)), float(np.mean(scores)) if scores else None)


def _rows(
    bench: Bench,
    folder: Path,
    scheme: str,
    granularity: str,
    carrier: str,
    soc: Target,
    o_levels: Sequence[int],
    estimated: int,
) -> Iterator[dict[str, Any]]:
    """Of one conversion, at each O level."""
    ways = [Way(scheme, granularity, carrier, level) for level in o_levels]
    source = (folder / MODEL, folder / ENCODINGS) if carrier == CARRIERS[0] else (folder / QDQ, None)
    dlc = folder / f"{carrier.split()[0]}.dlc"
    try:
        convert(read_network(*source, target=soc), dlc, target=soc, check=False)
    except HexaquantError as error:
        yield from (_failed(way, error) for way in ways)
        return
    for way in ways:
        try:
            yield {**asdict(way), "error": None, **_figures(bench, dlc, way, soc, estimated)}
        except HexaquantError as error:
            yield _failed(way, error)


def _figures(bench: Bench, dlc: Path, way: Way, soc: Target, estimated: int) -> Mapping[str, Any]:
    binary = dlc.with_suffix(f".{way.o_level}.bin")
    report = compile_dlc(dlc, binary, soc.model, soc.arch, o_level=way.o_level, graph_name="model")
    sizes = {"dlc_bytes": dlc.stat().st_size, "binary_bytes": report.info.size, "binary_sha256": report.sha256}
    if report.sha256 not in bench.known:
        (estimate,) = estimate_dlc(dlc, estimated, way.o_level, "model")
        figures = {key: value for key, value in asdict(estimate).items() if key not in ("graph", "o_level")}
        bench.known[report.sha256] = {**asdict(bench.score(binary)), "estimate": figures}
    return {**bench.known[report.sha256], **sizes}


def _failed(way: Way, error: HexaquantError) -> dict[str, Any]:
    return {**asdict(way), "error": str(error)}
