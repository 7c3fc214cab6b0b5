"""The coverage proof of an artifact folder (analysis/coverage.py) as a document and as tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from hexaquant.cli.console import table
from hexaquant.cli.reports import Drawing
from hexaquant.core.errors import InputError

COVERAGE = "coverage.json"
MEANING = {
    "exact": "has our encoding to the last bit",
    "inherited": "the same data, moved, with the same encoding",
    "inserted": "added by the lowering",
    "absorbed": "data movement merged into a neighbour",
    "missing": "did NOT arrive",
    "changed": "has ANOTHER encoding than ours",
}


def read_coverage(folder: Path) -> dict[str, Any]:
    """The proof of ``folder``: {kind, path, target, complete, counts, tensors}.

    Raises InputError when there is none yet or when its file was changed since.
    """
    from hexaquant.api.artifacts import open_folder
    from hexaquant.io.manifest import verify_files

    if not folder.is_dir():
        raise InputError(f"{folder} is no artifact folder; --coverage reads one that hexaquant compile wrote")
    out, manifest = open_folder(folder)
    if COVERAGE not in manifest.files:
        raise InputError(f"{folder} has no {COVERAGE} yet; run hexaquant compile {folder} first")
    verify_files(out, [COVERAGE])
    rows = json.loads((out / COVERAGE).read_text(encoding="utf-8"))
    counts = Counter(row["verdict"] for row in rows)
    return {
        "kind": "coverage",
        "path": str(folder),
        "target": manifest.sections.get("lower", {}).get("target", manifest.target),
        "complete": not counts["missing"] and not counts["changed"],
        "counts": {verdict: counts[verdict] for verdict in MEANING},
        "tensors": rows,
    }


def coverage_drawings(document: dict[str, Any], limit: int) -> tuple[Drawing, ...]:
    """How many tensors have each verdict, and the first ``limit`` tensors."""
    counts = [[count, verdict, MEANING[verdict]] for verdict, count in document["counts"].items()]
    rows = [[r["verdict"], r["tensor"], r["lowered"], r["asked"], r["has"]] for r in document["tensors"]]
    more = f" (first {limit} of {len(rows)})" if len(rows) > limit else ""
    title = f"{document['path']}: encodings in the DLC for {document['target']}"
    columns = ["verdict", "tensor", "name in the DLC", "asked for", "found"]
    return (
        lambda: table(title, ["tensors", "verdict", ""], counts, right=(0,)),
        lambda: table(f"tensors{more}", columns, rows[:limit]),
    )
