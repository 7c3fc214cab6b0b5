"""The parsers that read files from outside, each with seeds of legal files and the way to vary them.

A parser may accept a file or raise a HexaquantError; anything else is a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from fuzzing import seeds
from fuzzing.mutation import vary_bytes, vary_json, vary_onnx

Vary = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class FuzzTarget:
    """``read``: parses the file at a path. ``file``: the name it is given (readers go by the ending)."""

    name: str
    file: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    vary: Vary

    def feed(self, data: bytes, folder: Path) -> None:
        """Parse ``data``; HexaquantErrors are legal answers."""
        from hexaquant.core.errors import HexaquantError

        path = folder / self.file
        path.write_bytes(data)
        try:
            self.read(path)
        except HexaquantError:
            return


def targets() -> dict[str, FuzzTarget]:
    """All targets by name."""
    models = tuple(seeds.model_bytes(text) for text in seeds.MODELS)
    found = (
        FuzzTarget("encodings", "net.encodings", _encodings, seeds.aimet_files("*.encodings"), vary_json),
        FuzzTarget("onnx", "net.onnx", _onnx, models, vary_onnx),
        FuzzTarget("qdq", "net.onnx", _qdq, seeds.aimet_files("onnx_qdq_*.onnx"), vary_onnx),
        FuzzTarget("input_list", "input_list.txt", _input_list, seeds.INPUT_LISTS, vary_bytes),
        FuzzTarget("manifest", "manifest.json", _manifest, (seeds.MANIFEST,), vary_json),
        FuzzTarget("settings", "settings.yaml", _settings, seeds.SETTINGS, _vary_settings),
        FuzzTarget("archive", "net.pt2", _archive, (seeds.exported_program(),), vary_bytes),
        FuzzTarget("keras", "net.keras", _keras, (seeds.keras_archive(),), vary_bytes),
        FuzzTarget("arrays", "data.npz", _arrays, (seeds.arrays(),), vary_bytes),
    )
    return {target.name: target for target in found}


def _encodings(path: Path) -> object:
    from hexaquant.io.encodings_file import read_encodings

    return read_encodings(path).all


def _onnx(path: Path) -> object:
    from hexaquant.frontends import load

    return load(path)


def _qdq(path: Path) -> object:
    from hexaquant.frontends import load
    from hexaquant.io.qdq_reader import from_qdq

    return from_qdq(load(path))


def _input_list(path: Path) -> object:
    from hexaquant.io.input_list import input_list
    from hexaquant.ir.input_spec import InputSpec

    (path.parent / "x.raw").write_bytes(bytes(48))
    spec = InputSpec("x", np.dtype(np.float32), (1, 3, 4), True)
    return list(input_list(path, (spec,)).batches())


def _manifest(path: Path) -> object:
    from hexaquant.folder.manifest import verify_files

    (path.parent / "model.onnx").write_bytes(b"abc")
    return verify_files(path.parent)


def _settings(path: Path) -> object:
    """The five kinds of settings files, whatever the file is."""
    from hexaquant.cli.image_options import ImageOptions
    from hexaquant.cli.tools.context_binary_generator import read_config
    from hexaquant.cli.tools.io_config import read_io_config
    from hexaquant.core.errors import HexaquantError
    from hexaquant.ptq.recipe import find_recipe
    from hexaquant.sim.overrides import parse_overrides

    def image_spec(file: Path) -> object:
        return ImageOptions(file).value()

    for read in (parse_overrides, find_recipe, read_io_config, read_config, image_spec):
        try:
            read(path)
        except HexaquantError:
            continue
    return None


def _archive(path: Path) -> object:
    from hexaquant.frontends.exported_archive import check_archive

    return check_archive(path)


def _keras(path: Path) -> object:
    from hexaquant.frontends.keras_file import check_keras_file

    return check_keras_file(path)


def _arrays(path: Path) -> object:
    from hexaquant.frontends import load
    from hexaquant.io.data import open_data

    network = path.parent / "reader.onnx"
    if not network.exists():
        network.write_bytes(seeds.model_bytes(seeds.MODELS[0]))
    return list(open_data(path, load(network)).labelled())


def _vary_settings(data: bytes, random: Random) -> bytes:
    return vary_json(data, random) if random.random() < 0.6 else vary_bytes(data, random)
