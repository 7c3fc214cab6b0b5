"""Qualcomm's ``input_list.txt`` and the files it names. Needs numpy only: the bundle's Python runner has a copy.

A line is one inference: files as ``name:=path``, or bare in the order of the inputs. Lines that start with ``#`` or
``%`` and empty ones are skipped; if the first line is such a one, its words are the outputs that are wanted. Paths are
relative to the current folder or, failing that, to the list's. Raw files are row-major, little-endian, without a
header; ``.npy`` files are what their header says. A file may hold several samples.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hexaquant.core.errors import InputError

MARKS = ("#", "%")


@dataclass(frozen=True)
class Line:
    """``files``: input -> existing file; ``where``: "list.txt line 3"."""

    where: str
    files: dict[str, Path]


@dataclass(frozen=True)
class InputLines:
    """``outputs``: those that the first line names; empty for all."""

    lines: tuple[Line, ...]
    outputs: tuple[str, ...]


def read_input_lines(path: Path, inputs: Sequence[str]) -> InputLines:
    """The list ``path`` of a network with ``inputs``.

    Raises InputError naming the line where an input is unknown, missing or given twice, or a file does not exist.
    """
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); give a text file with one inference per line") from None
    numbered = [(number, text.split()) for number, text in enumerate(texts, 1) if text.strip()]
    outputs = numbered[0][1] if numbered and numbered[0][1][0].startswith(MARKS) else []
    lines = tuple(_line(words, inputs, path, number) for number, words in numbered if not words[0].startswith(MARKS))
    return InputLines(lines, tuple(" ".join(outputs)[1:].split()))


def _line(words: Sequence[str], inputs: Sequence[str], source: Path, number: int) -> Line:
    """A bare word is for the input at its place in the line, beside words with names too."""
    where = f"{source.name} line {number}"
    if len(words) != len(inputs) and not all(":=" in word for word in words):
        raise InputError(f"{where} has {len(words)} files but the model has {len(inputs)} inputs ({', '.join(inputs)})")
    files: dict[str, str] = {}
    for place, word in enumerate(words):
        name, mark, file = word.partition(":=")
        given = name if mark else inputs[place]
        if given in files:
            raise InputError(f"{where} gives input '{given}' twice; name each input once")
        files[given] = file if mark else word
    unknown = [name for name in files if name not in inputs]
    missing = [name for name in inputs if name not in files]
    if unknown or missing:
        raise InputError(wrong_names(missing, unknown, inputs, where))
    return Line(where, {name: _existing(file, source, where) for name, file in files.items()})


def _existing(file: str, source: Path, where: str) -> Path:
    for candidate in (Path(file), source.parent / file):
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError):  # a name that no file can have
            continue
    raise InputError(f"{where}: there is no file {file}, neither here nor beside the list; correct the path")


def read_array(path: Path) -> np.ndarray:
    """The array in the ``.npy`` file ``path``. Raises InputError when it is none."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not a readable .npy file ({error}); write it again with numpy.save") from None


def read_raw(path: Path, name: str, shape: Sequence[int], dtype: np.dtype[np.generic]) -> np.ndarray:
    """The samples (N, *shape) in the raw file ``path`` for input ``name``. Raises InputError for a size that does
    not fit."""
    need = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        size = path.stat().st_size
        if need and size and not size % need:
            return np.fromfile(path, dtype.newbyteorder("<")).reshape((-1, *shape))
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); correct the input list") from None
    raise InputError(
        f"{path} has {size} bytes, not a multiple of the {need} that a sample of input '{name}' "
        f"({'x'.join(map(str, shape))} {dtype}) takes; write it as raw little-endian {dtype}"
    )


def wrong_names(missing: Sequence[str], unknown: Sequence[str], names: Sequence[str], where: str) -> str:
    """One sentence about input names that do not match."""
    if not unknown:
        said = f"{where} lacks input '{missing[0]}'; the model's inputs are {', '.join(names)}"
        return said if len(names) == 1 else f"{said} (a recurrent state may be left out: --state {missing[0]}=OUTPUT)"
    close = difflib.get_close_matches(unknown[0], names, 1, 0.5)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"{where} has '{unknown[0]}', which is no input of the model{hint}; its inputs are {', '.join(names)}"
