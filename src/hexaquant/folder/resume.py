"""What was made from the same inputs already: fingerprints of steps, kept in the manifest's sections.

A step is current when its section has the fingerprint of the inputs at hand and its files are as they were written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.folder.commit import complete
from hexaquant.folder.manifest import NAME, Section, read_manifest, verify_files, versions
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import Target
from hexaquant.io.dataset import Dataset
from hexaquant.ir.fingerprint import fingerprint
from hexaquant.ir.graph import Graph
from hexaquant.ptq.recipe import Recipe

KEY = "fingerprint"


def step_fingerprint(inputs: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of ``inputs`` (JSON values) and of the versions of the packages that decide about numbers."""
    document = {"inputs": inputs, "versions": versions()}
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def quantization_fingerprint(
    graph: Graph,
    data: Dataset,
    *,
    target: Target,
    scheme: Scheme,
    recipe: Recipe,
    overrides: Mapping[str, Any] | None,
    batch_size: int,
) -> str:
    """Of everything that decides about the quantized model. Takes a pass over ``data``."""
    return step_fingerprint(
        {
            "model": fingerprint(graph),
            "data": data.content_hash(),
            "target": target.name,
            "scheme": asdict(scheme),
            "recipe": recipe.document(),
            "overrides": list((overrides or {}).items()),
            "batch_size": batch_size,
        }
    )


def is_current(folder: Path, section: str, wanted: str, files: Collection[str]) -> bool:
    """True when ``section`` of ``folder``'s manifest has the fingerprint ``wanted`` and ``files`` are unchanged."""
    complete(folder)
    if not (folder / NAME).is_file():
        return False
    try:
        if read_manifest(folder).section(section, Section).fingerprint != wanted:
            return False
        verify_files(folder, files)
    except InputError:
        return False
    return True


def is_trained(folder: Path) -> bool:
    """True when what ``folder`` holds has gone through training."""
    if not (folder / NAME).is_file():
        return False
    try:
        made = read_manifest(folder).quantization
    except InputError:
        return False
    return any(step.get("step") == "finetune" for step in made.steps)
