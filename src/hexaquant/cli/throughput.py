"""``hexaquant run --throughput``: latency percentiles and requests a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexaquant.cli.console import Console, number, table
from hexaquant.cli.run_input import data_of, find_binary, input_specs_of

MOST_SAMPLES = 256
"""Samples of the user's data that are kept in memory and sent in turn."""


def run_throughput(
    console: Console,
    binary: Path,
    target: str | None,
    given: tuple[list[str], Path | None],
    native: bool,
    seconds: float,
    callers: int,
    workers: int | None,
) -> None:
    """Measure and show. ``given``: --input texts and --input-list; random inputs where both are empty."""
    from itertools import islice

    from hexaquant.api.throughput import measure_throughput, random_inputs
    from hexaquant.qnn.runtime import Runtime

    path, soc = find_binary(binary, target)
    with Runtime(path, float_io=not native, soc=soc, workers=workers) as runtime:
        if given[0] or given[1] is not None:
            data = data_of(input_specs_of(runtime, native), *given, native)
            items: list[Any] = list(islice(data.batches(), MOST_SAMPLES))
        else:
            items = list(random_inputs(runtime))
        report = measure_throughput(runtime, items, seconds, callers)
    document = {"binary": str(path), **report.to_dict()}
    console.result(document, lambda: _table(document))


def _table(document: dict[str, Any]) -> Any:
    title = f"{number(document['per_second'], 1)} a second, {document['callers']} callers"
    rows = [[name, number(value, 1)] for name, value in document["latency_ms"].items()]
    rows += [[f"failed: {message}", str(count)] for message, count in document["failures"].items()]
    return table(title, ["latency", "ms"], rows, right=(1,))
