"""What a float DLC was made from, kept beside it as ``<dlc>.source/``: no library here reads a network out of a DLC.

The folder holds model.onnx (static, float, as the target gets it), given.encodings where some came with the network,
and source.json (which DLC it is of, its target, the type of its inputs and outputs).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hexaquant.api.convert import Converted, Network, read_network
from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import sha256_of
from hexaquant.io.encodings_file import write_encodings

VERSION = "2.0.0"
"""Of given.encodings: the one that holds every kind of encoding."""


@dataclass(frozen=True)
class Source:
    """``sha256``: of the DLC; ``target``: name of the SoC; ``float_io``: the inputs and outputs that
    were kept float32, by name, or all or none.
    """

    sha256: str
    target: str
    float_io: bool | list[str]


def source_folder(dlc: Path) -> Path:
    """<dlc>.source"""
    return dlc.with_name(dlc.name + ".source")


def has_float(converted: Converted) -> bool:
    """True when calibration could still quantize something: the whole network, or what fell back to float."""
    return converted.scheme == "fp16" or any(d.outcome == "float" for d in converted.decisions)


def keep_source(network: Network, converted: Converted, *, float_io: bool | list[str]) -> Path:
    """Write the folder for the DLC just ``converted`` from ``network``; source.json last. Returns the folder."""
    folder = source_folder(converted.dlc)
    folder.mkdir(exist_ok=True)
    (folder / "source.json").unlink(missing_ok=True)
    network.graph.save(folder / "model.onnx")
    given = folder / "given.encodings"
    given.unlink(missing_ok=True)
    if network.given:
        constants = {v.name or "" for v in network.graph.values() if v.is_initializer()}
        params = [name for name in network.given if name in constants]
        activations = [name for name in network.given if name not in constants]
        write_encodings(
            given, network.given, activations=activations, params=params, version=VERSION, graph=network.graph
        )
    source = Source(converted.report.sha256, converted.target.name, float_io)
    write_text(folder / "source.json", json.dumps(asdict(source), indent=1))
    return folder


def read_source(dlc: Path) -> tuple[Network, Source]:
    """The network ``dlc`` was made from. Raises InputError when it was not kept, or is that of another DLC."""
    if not dlc.is_file():
        raise InputError(f"there is no DLC {dlc}; check the path")
    folder = source_folder(dlc)
    try:
        source = Source(**json.loads((folder / "source.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(
            f"{dlc} has no {folder.name}/ beside it, from which alone it can be quantized here; make the DLC with this "
            "package's qairt-converter, without encodings or with --float_fallback"
        ) from None
    if sha256_of(dlc) != source.sha256:
        raise InputError(f"{dlc} is not the DLC that {folder.name}/ was kept for; convert the network again")
    given = folder / "given.encodings"
    return read_network(folder / "model.onnx", given if given.exists() else None), source
