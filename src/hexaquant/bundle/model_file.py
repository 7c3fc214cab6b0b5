"""``model.txt``: what the runtimes on a device need to know, in words that C reads easily (format: c/hq_manifest.h)."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.bundle.card import ModelCard, Picture


# File names of results on a device, the same in C (app_io.c) and in Python.


def result_files(outputs: Sequence[str]) -> dict[str, str]:
    """Output -> its file: each byte but letters, digits, '_', '.' and '-' is '_'. Raises InputError when two agree."""
    files = {name: re.sub(rb"[^0-9A-Za-z_.-]", b"_", name.encode()).decode() + ".raw" for name in outputs}
    if len(set(files.values())) < len(files):
        raise InputError(f"outputs {', '.join(outputs)} differ only in characters that file names lack; rename one")
    return files


NAME = "model.txt"
LABELS = "labels.txt"
_FIRST = "hexaquant-model\t1"


def model_text(card: ModelCard) -> str:
    """The content of model.txt for ``card``."""
    lines = [_FIRST, _line("binary", card.binary.name, raw=(card.sha256, str(card.binary.stat().st_size)))]
    lines += [f"soc\t{card.target.model}", _line("graph", card.graph)]
    lines += [_line("input", spec.name, spec.lowered or spec.name) for spec in card.inputs]
    lines += [_line("output", spec.name, spec.lowered or spec.name) for spec in card.outputs]
    if card.image is not None:
        lines.append(_image_line(card.image))
    if card.labels is not None:
        lines.append(_line("labels", LABELS))
    return "\n".join(lines) + "\n"


def _image_line(image: Picture) -> str:
    spec = image.spec
    order = "BGR" if spec.color == "BGR" else "RGB"
    numbers = [_floats((spec.scale,)), _floats(spec.mean), _floats(spec.std)]
    return "\t".join(["image", *map(str, (image.height, image.width, image.channels)), order, image.layout, *numbers])


def _line(key: str, *names: str, raw: tuple[str, ...] = ()) -> str:
    return "\t".join([key, *map(_quoted, names), *raw])


def _quoted(name: str) -> str:
    return re.sub(rb"[^!-$&-~]", lambda byte: b"%%%02X" % byte.group()[0], name.encode()).decode("ascii")


def _floats(values: tuple[float, ...]) -> str:
    """The bits of float32 numbers: no locale changes how they read."""
    return ",".join(struct.pack(">f", value).hex() for value in values)


@dataclass(frozen=True)
class ModelFile:
    """What a runner takes from model.txt. ``inputs``, ``outputs``: [name, name in the binary]."""

    binary: Path
    sha256: str
    soc: int
    graph: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def read_model_file(folder: Path) -> ModelFile:
    """Parse ``folder``/model.txt. Raises InputError when it is missing or damaged."""
    path = folder / NAME
    try:
        first, *lines = path.read_text(encoding="ascii").splitlines()
        if first != _FIRST:
            raise ValueError
        rows = [line.split("\t") for line in lines]
        single = {row[0]: row[1:] for row in rows}
        name, digest, _ = single["binary"]
        file = _name(name)
        if "/" in file or "\\" in file:
            raise ValueError
        sides = {key: tuple((_name(a), _name(b)) for k, a, b, *_ in _of(rows, key)) for key in ("input", "output")}
        return ModelFile(
            folder / file, digest, int(single["soc"][0]), _name(single["graph"][0]), sides["input"], sides["output"]
        )
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); give the folder of a bundle") from None
    except (ValueError, KeyError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged; copy the bundle again") from None


def _of(rows: list[list[str]], key: str) -> list[list[str]]:
    return [row for row in rows if row[0] == key]


def _name(word: str) -> str:
    return unquote_to_bytes(word).decode()
