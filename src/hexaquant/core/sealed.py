"""Checkpoints that carry the SHA-256 of their content: what was altered or damaged is not read.

That finds damage, mix-ups and edits by hand; it is no signature (whoever writes a file can also write its digest).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "sha256"


class Damaged(ValueError):
    """The content is not what its digest says, or there is none."""


def seal_json(document: Any) -> str:
    """``document`` (JSON values) with its digest, for :func:`unseal_json`."""
    text = json.dumps(document)
    return json.dumps({DIGEST: hashlib.sha256(text.encode()).hexdigest(), "content": json.loads(text)})


def unseal_json(text: str) -> Any:
    """The document that :func:`seal_json` was given. Raises Damaged (a ValueError) when it was changed."""
    try:
        sealed = json.loads(text)
        content = sealed["content"]
        digest = sealed[DIGEST]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Damaged(f"no sealed document: {error}") from None
    if hashlib.sha256(json.dumps(content).encode()).hexdigest() != digest:
        raise Damaged("its content is not what its SHA-256 says")
    return content


def save_sealed(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``path`` atomically: contiguous ``tensors`` and ``metadata`` as safetensors, with the digest of both."""
    from safetensors.torch import save_file

    from hexaquant.core.atomic import atomic_path

    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata={**metadata, DIGEST: _digest(tensors, metadata)})


def load_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a file of :func:`save_sealed`. Raises Damaged, also when there is no file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise Damaged(str(error)) from None
    if metadata.pop(DIGEST, None) != _digest(tensors, metadata):
        raise Damaged("its content is not what its SHA-256 says")
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
