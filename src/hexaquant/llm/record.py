"""What a folder of ``hexaquant llm`` says about its network: section "llm" of the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.folder.commit import complete
from hexaquant.folder.manifest import NAME, read_manifest
from hexaquant.htp.soc import Target, find_target
from hexaquant.llm.graphs import Form
from hexaquant.llm.rope import Rope
from hexaquant.llm.static_decoder import Layer, Shapes

SECTION = "llm"


def twin_name(binary: str) -> str:
    """ "model.sm8650.bin" -> "twin.sm8650.bin"."""
    return "twin." + binary.partition(".")[2]


@dataclass(frozen=True)
class Record:
    """``source``: where the FP32 network is (open_source takes it); ``tokens``: bos, eos, pad as Genie gets them."""

    name: str
    source: str
    form: Form
    rope: Rope | None
    shapes: tuple[Shapes, ...]
    bos: int
    eos: tuple[int, ...]
    pad: int
    target: str
    scheme: str
    cache_bits: int

    @property
    def soc(self) -> Target:
        return find_target(self.target)

    @property
    def context(self) -> int:
        return self.shapes[0].context

    @property
    def device_binary(self) -> str:
        """File name of the binary for the device, in which the graphs share their weights."""
        return f"model.{self.target}.bin"

    @property
    def twin(self) -> str:
        """File name of the same without sharing, which the emulator can load."""
        return twin_name(self.device_binary)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def record_from_json(data: Mapping[str, Any]) -> Record:
    """What :meth:`Record.to_json` wrote. Raises InputError when it is damaged."""
    try:
        form = dict(data["form"])
        layers = tuple(Layer(**layer) for layer in form.pop("layers"))
        rope = None if data["rope"] is None else Rope(**data["rope"])
        shapes = tuple(Shapes(**one) for one in data["shapes"])
        rest = {key: data[key] for key in ("name", "source", "bos", "pad", "target", "scheme", "cache_bits")}
        return Record(form=Form(layers, **form), rope=rope, shapes=shapes, eos=tuple(data["eos"]), **rest)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"section '{SECTION}' of the manifest is damaged ({error!r}): run hexaquant llm again"
        ) from None


def is_llm(folder: str | Path) -> bool:
    """True for a folder that ``hexaquant llm`` wrote."""
    return (Path(folder) / NAME).is_file() and isinstance(read_manifest(Path(folder)).sections.get(SECTION), dict)


def open_llm(folder: str | Path) -> tuple[Path, Record]:
    """(path, record) of a folder that ``hexaquant llm`` wrote. Raises InputError for any other."""
    out = Path(folder)
    complete(out)
    if not (out / NAME).is_file():
        raise InputError(f"{out} is not a folder of a language model (no {NAME}): run hexaquant llm deploy first")
    section = read_manifest(out).sections.get(SECTION)
    if not isinstance(section, dict):
        raise InputError(f"{out} holds no language model: run hexaquant llm deploy MODEL -o {out}")
    return out, record_from_json(section)
