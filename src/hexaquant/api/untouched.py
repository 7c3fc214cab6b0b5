"""Was an encodings file altered after it was exported? The manifest beside it knows, and the QDQ model says where."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as oir

from hexaquant.api.artifacts import QDQ, same_numbers
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.io.encodings_file import EncodingsFile
from hexaquant.io.manifest import NAME, read_manifest, sha256_of, verify_files
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph

SHOWN = 4


def require_untouched(path: Path, content: EncodingsFile) -> None:
    """Raise EncodingError naming the tensors when ``path`` (read as ``content``) is not what its folder's manifest has.

    Files without a manifest, such as another tool's, pass: nothing is known about them.
    """
    folder = path.parent
    if not (folder / NAME).is_file():
        return
    record = read_manifest(folder).files.get(path.name)
    if record is None or record.sha256 == sha256_of(path):
        return
    names = _altered(folder, content)
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
    where = f"the encoding of {shown} differs from {QDQ}" if names else "its SHA-256 is another"
    raise EncodingError(f"{path} was altered after its export: {where}; export it again, or move it out of the folder")


def _altered(folder: Path, content: EncodingsFile) -> list[str]:
    """Tensors whose encodings are not those of the intact QDQ model; empty where there is none to compare with."""
    try:
        verify_files(folder, [QDQ])
    except InputError:
        return []
    _, exported = from_qdq(Graph(oir.load(folder / QDQ), QDQ))
    return [name for name, e in content.all.items() if name in exported and not same_numbers(e, exported[name])]
