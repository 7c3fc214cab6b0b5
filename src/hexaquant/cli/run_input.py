"""What ``hexaquant run`` executes and feeds: the binary of a folder, its inputs, the user's samples."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.core.archive import ARCHIVE_ERRORS
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from hexaquant.bundle.card import ModelCard
    from hexaquant.io.dataset import Dataset
    from hexaquant.ir.input_spec import InputSpec
    from hexaquant.qnn.runtime import Runtime


def find_binary(path: Path, target: str | None) -> tuple[Path, int | None]:
    """The context binary ``path``, or the one for ``target`` in the artifact folder ``path``; and its SoC model.

    The SoC model is None where nobody said what it should be.
    """
    from hexaquant.htp.soc import find_target

    if not path.is_dir():
        return path, None if target is None else find_target(target).model
    from hexaquant.folder.artifacts import Folder

    folder = Folder.open(path)
    soc = folder.target if target is None else find_target(target)
    return folder.binary(soc), soc.model


def input_specs_of(runtime: Runtime | ModelCard, native: bool | Collection[str]) -> tuple[InputSpec, ...]:
    """What the compiled graph takes, as the data readers want it: float32 for quantized inputs unless ``native``.

    ``native``: of all inputs, or the names of those that are given as they are stored.
    """
    import numpy as np

    from hexaquant.ir.input_spec import specs_of

    specs = []
    for spec in runtime.inputs:
        stored = native if isinstance(native, bool) else spec.name in native
        as_float = not stored and (spec.scale is not None or spec.dtype.kind == "f")
        dtype = np.dtype(np.float32) if as_float else spec.dtype
        specs.append((spec.name, dtype, spec.shape))
    return specs_of(specs)


def data_of(specs: tuple[InputSpec, ...], inputs: list[str], listed: Path | None, native: bool) -> Dataset:
    """The samples in ``inputs`` (NAME=FILE.npy or .npz) or in the input list ``listed``."""
    from hexaquant.io.data import from_iterable
    from hexaquant.io.input_list import input_list

    if listed is not None:
        return input_list(listed, specs, native)
    return from_iterable([dict(_read(text) for text in inputs)], specs, "--input")


def _read(text: str) -> tuple[str, np.ndarray]:
    import numpy as np

    name, equals, file = text.partition("=")
    if not equals:
        raise InputError(f"--input {text} is not of the form NAME=FILE.npy; correct it")
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return name, found
        with found:
            if name not in found.files:
                names = ", ".join(found.files) or "nothing"
                raise InputError(f"--input {text}: {file} has no array '{name}' but {names}; name the input so")
            return name, found[name]
    except FileNotFoundError:
        raise InputError(f"--input {text}: there is no file {file}; check the path") from None
    except ARCHIVE_ERRORS as error:
        raise InputError(f"--input {text}: {file} is not a readable .npy or .npz ({error}); write it again") from None
