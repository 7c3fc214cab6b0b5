"""File names of results on a device, the same in C (app_io.c) and in Python."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hexaquant.core.errors import InputError


def result_files(outputs: Sequence[str]) -> dict[str, str]:
    """Output -> its file: each byte but letters, digits, '_', '.' and '-' is '_'. Raises InputError when two agree."""
    files = {name: re.sub(rb"[^0-9A-Za-z_.-]", b"_", name.encode()).decode() + ".raw" for name in outputs}
    if len(set(files.values())) < len(files):
        raise InputError(f"outputs {', '.join(outputs)} differ only in characters that file names lack; rename one")
    return files
