"""hq.make_bundle: from an artifact folder, or one of a language model, to a folder that is copied to the device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hexaquant.bundle.assemble import assemble
from hexaquant.bundle.card import ModelCard, picture_of, read_labels
from hexaquant.bundle.decoder import DecoderCard
from hexaquant.bundle.platforms import Platform, find_platform
from hexaquant.core.errors import InputError
from hexaquant.folder.artifacts import Folder
from hexaquant.folder.manifest import recorded_io, verify_files
from hexaquant.htp.soc import Target, find_target
from hexaquant.io.image_folder import ImageSpec
from hexaquant.llm.chat import own_tokenizer
from hexaquant.llm.folder import TOKENIZER
from hexaquant.llm.genie import host_config
from hexaquant.llm.genie_config import CONFIG as GENIE_CONFIG
from hexaquant.llm.genie_config import EXTENSIONS
from hexaquant.llm.record import is_llm, open_llm
from hexaquant.llm.texts import turn_texts
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.tensor_io import ordered_specs


@dataclass(frozen=True)
class Bundled:
    """What was written: ``files`` relative to ``folder``."""

    folder: Path
    platform: Platform
    card: ModelCard | DecoderCard
    files: tuple[str, ...]


def make_bundle(
    folder: str | Path,
    platform: str = "host",
    output: str | Path | None = None,
    *,
    target: str | Target | None = None,
    labels: str | Path | Sequence[str] | None = None,
    images: ImageSpec | None = None,
) -> Bundled:
    """Write a bundle of ``folder``'s binary for ``platform`` (linux-arm64, windows-arm64, android, host).

    ``output``: the bundle, default ``folder``/bundle-PLATFORM; ``target``: which binary, default that of the
    quantization; ``labels``: class names or a file with one per line; ``images``: the preprocessing, for the README and
    the C example. Raises InputError when something of it is missing, changed or does not fit.
    """
    kind = find_platform(platform)
    card: ModelCard | DecoderCard
    if is_llm(folder):
        if labels is not None or images is not None or target is not None:
            raise InputError(f"{folder} holds a language model: a bundle of it has no labels, images or other target")
        card = decoder_card(Path(folder), kind)
    else:
        card = model_card(folder, target=target, labels=labels, images=images)
    destination = Path(folder) / f"bundle-{kind.name}" if output is None else Path(output)
    return Bundled(destination, kind, card, assemble(card, kind, destination))


def decoder_card(folder: Path, platform: Platform) -> DecoderCard:
    """What a bundle of the language model in ``folder`` holds; for this PC the twin that the emulator can load."""
    opened, record = open_llm(folder)
    binary = record.device_binary if platform.npu else record.twin
    others = [name for name in (TOKENIZER, EXTENSIONS) if platform.npu or name != EXTENSIONS]
    if not (opened / binary).is_file():
        raise InputError(f"{folder} has no {binary}: run hexaquant llm compile {folder} first")
    verify_files(opened, [binary, GENIE_CONFIG, *others])
    config = (opened / GENIE_CONFIG).read_text() if platform.npu else json.dumps(host_config(opened), indent=2)
    return DecoderCard(
        name=record.name,
        target=record.soc,
        scheme=record.scheme,
        context=record.context,
        binary=opened / binary,
        config=config,
        others=tuple(opened / name for name in others),
        turns=turn_texts(own_tokenizer(opened), record.bos),
    )


def model_card(
    folder: str | Path,
    *,
    target: str | Target | None = None,
    labels: str | Path | Sequence[str] | None = None,
    images: ImageSpec | None = None,
) -> ModelCard:
    """What a bundle tells about the binary of ``folder``."""
    opened = Folder.open(folder)
    soc = opened.target if target is None else find_target(target)
    binary = opened.binary(soc)
    opened.verify([binary.name])
    graph = inspect_binary(binary).graphs[0]
    io = recorded_io(binary, graph.name) or {}
    inputs = tuple(ordered_specs(graph.inputs, io.get("inputs", ())))
    return ModelCard(
        binary=binary,
        sha256=opened.manifest.files[binary.name].sha256,
        target=soc,
        scheme=opened.manifest.scheme,
        graph=graph.name,
        inputs=inputs,
        outputs=tuple(ordered_specs(graph.outputs, io.get("outputs", ()))),
        image=None if images is None else picture_of(images, inputs),
        labels=_labels(labels),
    )


def _labels(given: str | Path | Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return read_labels(Path(given)) if isinstance(given, str | Path) else tuple(given)
