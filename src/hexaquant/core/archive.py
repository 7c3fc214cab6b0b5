"""What can go wrong in a ZIP archive (.keras, .pt2, .npz) from outside."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
)
"""Raised by zipfile and its decoders on damaged, encrypted or truncated members."""


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The member ``name``, at most ``limit`` bytes of it unpacked. Raises ValueError for more, KeyError without it."""
    with archive.open(name) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} unpacks to more than {limit} bytes")
    return data
