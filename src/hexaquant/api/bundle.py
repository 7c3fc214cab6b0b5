"""hq.make_bundle: from an artifact folder to a folder that is copied to the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hexaquant.bundle.assemble import assemble
from hexaquant.bundle.card import ModelCard, picture_of, read_labels
from hexaquant.bundle.platforms import Platform, find_platform
from hexaquant.folder.artifacts import Folder
from hexaquant.folder.manifest import recorded_io
from hexaquant.htp.soc import Target, find_target
from hexaquant.io.image_folder import ImageSpec
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.tensor_io import ordered_specs


@dataclass(frozen=True)
class Bundled:
    """What was written: ``files`` relative to ``folder``."""

    folder: Path
    platform: Platform
    card: ModelCard
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
    card = model_card(folder, target=target, labels=labels, images=images)
    destination = Path(folder) / f"bundle-{kind.name}" if output is None else Path(output)
    return Bundled(destination, kind, card, assemble(card, kind, destination))


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
