"""Overrides: the user's word on single layers or tensors, by glob, over what the scheme says.

A YAML file or a Python mapping from glob to setting; later entries win::

    "*.attn.*":        w8a16                      # a scheme, for the layers whose name or module matches
    "/head/Softmax*":  fp16
    "features.0.weight": {bits: 8, granularity: tensor}
    "logits":          {bits: 16, observer: min_max}
    "cache of layer 0": {tie: ["past_key_0_*", "key_0_joined"], bits: 8, symmetric: true}

A glob is matched against the tensor's name, and against the node name and module path of its layer. Data movement
computes nothing: a glob that matches only moved data is for the tensor that is moved (sim/activation_grids.py).

An entry with ``tie`` has a free name; it makes all tensors that its globs match share one encoding, observed on all of
them, because something outside the network copies integers between them (a key-value cache); its other keys hold for
each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt

from hexaquant.core.errors import InputError
from hexaquant.core.observers import parse_observer
from hexaquant.core.strict import validated
from hexaquant.core.text_file import read_yaml
from hexaquant.htp.scheme import SCHEMES, Scheme

_KEYS = {"bits", "symmetric", "granularity", "block_size", "observer", "float"}
TIE = "tie"


@dataclass(frozen=True)
class Setting:
    """One override. Fields that are None leave the scheme's choice. ``is_float`` keeps float16."""

    scheme: Scheme | None = None
    bits: Literal[4, 8, 16] | None = None
    symmetric: bool | None = None
    granularity: Literal["tensor", "channel", "block", "lpbq"] | None = None
    block_size: Annotated[int, Gt(0)] | None = None
    observer: str | None = None
    is_float: bool = False


@dataclass(frozen=True)
class Tie:
    """Tensors that share one encoding: all that match one of ``globs``. ``name``: for messages."""

    name: str
    globs: tuple[str, ...]

    def matches(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self.globs)


@dataclass(frozen=True)
class Overrides:
    """Globs and settings, in order, and ties; globs without a match are errors. ``document``: as the user wrote it."""

    entries: tuple[tuple[str, Setting], ...] = ()
    ties: tuple[Tie, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def find(self, *names: str) -> Setting | None:
        """The last setting whose glob matches one of ``names`` (empty names never match)."""
        last = self.last(*names)
        return None if last is None else self.entries[last][1]

    def last(self, *names: str) -> int | None:
        """The position of the last entry whose glob matches one of ``names`` (empty names never match)."""
        for position in reversed(range(len(self.entries))):
            if any(name and fnmatchcase(name, self.entries[position][0]) for name in names):
                return position
        return None

    def unused(self, names: set[str]) -> list[str]:
        """Globs that match none of ``names``."""
        globs = [glob for glob, _ in self.entries] + [glob for tie in self.ties for glob in tie.globs]
        return [glob for glob in globs if not any(fnmatchcase(name, glob) for name in names)]


def parse_overrides(data: Mapping[str, Any] | str | Path | None) -> Overrides:
    """Overrides from a mapping or a YAML/JSON file. Raises InputError naming the entry that is wrong."""
    if data is None:
        return Overrides()
    if not isinstance(data, Mapping):
        data = read_overrides(Path(data))
    odd = [glob for glob in data if not isinstance(glob, str)]
    if odd:
        raise InputError(f"override {odd[0]!r} is no text; give the glob of a tensor's or operator's name in quotes")
    entries: list[tuple[str, Setting]] = []
    ties: list[Tie] = []
    for glob, value in data.items():
        if not isinstance(value, Mapping) or TIE not in value:
            entries.append((glob, _setting(glob, value)))
            continue
        tie = _tie(glob, value[TIE])
        ties.append(tie)
        rest = {key: setting for key, setting in value.items() if key != TIE}
        if rest:
            entries += [(member, _setting(glob, rest)) for member in tie.globs]
    return Overrides(tuple(entries), tuple(ties), dict(data))


def _tie(name: str, globs: Any) -> Tie:
    if not isinstance(globs, list | tuple) or not globs or not all(isinstance(glob, str) for glob in globs):
        raise InputError(f"override '{name}': tie must be a list of globs of tensors, not {globs}")
    return Tie(name, tuple(globs))


def read_overrides(path: Path) -> Mapping[str, Any]:
    """The mapping in the YAML or JSON file ``path``, its entries not looked at. Raises InputError."""
    data = read_yaml(path, "overrides file")
    if not isinstance(data, Mapping):
        raise InputError(f"overrides file {path} must map globs to settings")
    return data


def _setting(glob: str, value: Any) -> Setting:
    if isinstance(value, str):
        if value.lower() in ("float16", "fp16", "float"):
            return Setting(is_float=True)
        if value.lower() not in SCHEMES:
            raise InputError(f"override '{glob}': unknown scheme '{value}'; known are {', '.join(SCHEMES)}, float16")
        return Setting(scheme=SCHEMES[value.lower()])
    if not isinstance(value, Mapping) or not set(value) <= _KEYS:
        raise InputError(f"override '{glob}' must be a scheme or a mapping with keys among {', '.join(sorted(_KEYS))}")
    fields = {"is_float" if key == "float" else key: entry for key, entry in value.items()}
    setting = validated(Setting, fields, f"override '{glob}'", {"is_float": "float"})
    if setting.observer is not None:
        try:
            parse_observer(setting.observer)
        except InputError as error:
            raise InputError(f"override '{glob}': {error}") from None
    return setting
