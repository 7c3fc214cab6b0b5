"""Results of ``hexaquant run``: Result_N/<output>.raw as Qualcomm's tools write them, and what to tell about them."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import number, table
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

_FORBIDDEN = re.compile(r"[^\w.-]")


def written(path: Path, results: Iterable[Mapping[str, np.ndarray]], folder: Path, form: str) -> dict[str, Any]:
    """Write each of ``results`` below ``folder``; what was done, as the document to print."""
    seen: dict[str, dict[str, Any]] = {}
    count = 0
    start = time.monotonic()
    for count, outputs in enumerate(results, 1):
        write_outputs(folder / f"Result_{count - 1}", outputs, form)
        _note(seen, outputs)
    seconds = round(time.monotonic() - start, 3)
    done = {"binary": str(path), "inferences": count, "seconds": seconds, "folder": str(folder)}
    return {**done, "outputs": list(seen.values())}


def write_outputs(folder: Path, outputs: Mapping[str, np.ndarray], form: str) -> None:
    """One file per output, each whole or not at all; characters that file names cannot have become underscores."""
    import numpy as np

    from hexaquant.core.atomic import write_bytes

    stems = {name: _FORBIDDEN.sub("_", name) for name in outputs}
    if len(set(stems.values())) < len(stems):
        raise InputError(f"outputs {', '.join(stems)} differ only in characters that file names lack; rename one")
    for name, array in outputs.items():
        if form == "npy":
            buffer = io.BytesIO()
            np.save(buffer, array)
            content = buffer.getvalue()
        else:
            content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        write_bytes(folder / f"{stems[name]}.{form}", content)


def _note(seen: dict[str, dict[str, Any]], outputs: Mapping[str, np.ndarray]) -> None:
    """Widen the range of each output."""
    for name, array in outputs.items():
        low = float(array.min())
        high = float(array.max())
        entry = seen.setdefault(
            name, {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "min": low, "max": high}
        )
        entry["min"], entry["max"] = min(entry["min"], low), max(entry["max"], high)


def result_table(document: Mapping[str, Any]) -> Any:
    title = f"{document['inferences']} inferences in {document['seconds']:.1f} s -> {document['folder']}"
    rows = [
        [e["name"], "x".join(map(str, e["shape"])), e["dtype"], number(e["min"], 4), number(e["max"], 4)]
        for e in document["outputs"]
    ]
    return table(title, ["output", "shape", "dtype", "min", "max"], rows, right=(3, 4))
