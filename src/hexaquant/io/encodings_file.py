"""AIMET encodings files, versions 0.6.1, 1.0.0 and 2.0.0: read, check against a graph, write.

What the versions hold beyond per-tensor, per-channel and per-block integers:

=====================  =======  =======  =======
..                     0.6.1    1.0.0    2.0.0
=====================  =======  =======  =======
LPBQ                   as block yes      yes
float16 tensors        yes      yes      no
int32 biases           optional optional yes
axes, block sizes      implied  implied  yes
signed storage         implied  implied  yes
symmetric flag         yes      yes      signed only
=====================  =======  =======  =======

"Implied" axes come back through :meth:`EncodingsFile.resolve`, implied storage is signed for symmetric parameters
and unsigned for the rest, as in AIMET. :func:`write_encodings` returns a sentence for everything that is lost.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.metadata
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexaquant.core.atomic import write_text
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.grid import PerTensor
from hexaquant.core.text_file import parse_json
from hexaquant.io import encodings_v06 as v06
from hexaquant.io import encodings_v1 as v1
from hexaquant.io import encodings_v2 as v2
from hexaquant.io.channel_axes import resolve_axes
from hexaquant.io.encoding_fields import is_bias
from hexaquant.io.encoding_losses import VERSIONS, check_version, what_is_lost
from hexaquant.ir.graph import Graph, shape_of

# Names of legacy aimet_torch encodings: ``conv1.output[0]`` is the first output of module ``conv1``.

_PORT = re.compile(r"(?P<module>.+)\.(?P<side>input|output)\[(?P<index>\d+)\]")


def tensor_of_port(name: str, graph: Graph) -> str | None:
    """The tensor at a module's port, or None when ``name`` is not a port or the graph has no such module.

    A module is found by the origin of its nodes or, failing that, by a node of its name.
    """
    match = _PORT.fullmatch(name)
    if match is None:
        return None
    module = match["module"]
    nodes = [n for n in graph.nodes if module in (graph.origin(n).module, n.name)]
    if not nodes:
        return None
    if match["side"] == "output":
        ports = nodes[-1].outputs
    else:
        ports = tuple(v for v in nodes[0].inputs if v is not None and not v.is_initializer())
    index = int(match["index"])
    return ports[index].name if index < len(ports) else None


DEFAULT_VERSION = v1.VERSION


@dataclass(frozen=True)
class EncodingsFile:
    """The content of an encodings file. ``source`` is its path, for messages.

    Version 2.0.0 does not tell activations from parameters: until :meth:`resolve` the split is a guess.
    """

    version: str
    activations: dict[str, Encoding]
    params: dict[str, Encoding]
    producer: dict[str, Any] = field(default_factory=dict)
    quantizer_args: dict[str, Any] = field(default_factory=dict)
    source: str = "encodings"

    @property
    def all(self) -> dict[str, Encoding]:
        """Activations, then parameters, in the file's order."""
        return self.activations | self.params

    def check_against(self, graph: Graph, strict: bool = False) -> list[str]:
        """Names in the file that ``graph`` has no tensor for (a converter may have folded those).

        Raises EncodingError with the first few and their closest matches when most names match nothing,
        a parameter is missing, or (``strict``) any name is.
        """
        known = {v.name for v in graph.values() if v.name}
        names = list(self.all)
        unknown = [n for n in names if n not in known]
        missing_params = [n for n in self.params if n not in known and self.version != v2.VERSION]
        if not unknown or not (strict or missing_params or 2 * len(unknown) > len(names)):
            return unknown
        raise EncodingError(unknown_names_message(unknown, known, self.source, graph.source))

    def resolve(self, graph: Graph) -> EncodingsFile:
        """The same encodings with axes and blocks settled by ``graph`` and parameters told from activations.

        Module-keyed names of legacy torch files become tensor names where the graph has the module.
        Raises EncodingError when the encodings do not fit the graph's tensors.
        """
        values = {v.name: v for v in graph.values() if v.name}
        named = {tensor_of_port(name, graph) or name: e for name, e in self.all.items()}
        settled = {n: resolve_axes(n, e, values[n]) if n in values else e for n, e in named.items()}
        constants = {n for n in settled if n in values and values[n].is_initializer()}
        params = {n for n in settled if n in constants or (n in self.params and n not in values)}
        if self.version != v2.VERSION:
            params |= set(self.params)
        return dataclasses.replace(
            self,
            activations={n: e for n, e in settled.items() if n not in params},
            params={n: e for n, e in settled.items() if n in params},
        )


def unknown_names_message(unknown: list[str], known: set[str], source: str, model: str) -> str:
    """One sentence naming the first few unknown tensors and what they may have been meant to be."""
    shown = []
    for name in unknown[:3]:
        close = difflib.get_close_matches(name, known, 1, 0.6)
        shown.append(f"'{name}' (closest: '{close[0]}')" if close else f"'{name}'")
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    names = ", ".join(shown) + more
    return f"{source} names tensors that {model} does not have: {names}; use the model they were made for"


def read_encodings(path: str | os.PathLike[str]) -> EncodingsFile:
    """Read an encodings file of any supported version.

    Raises InputError when the file is missing and EncodingError when it is not JSON (truncated, binary), has an
    unknown version, lacks keys, or holds NaN, zero or negative scales.
    """
    source = Path(path)
    if source.exists() and not source.is_file():
        raise InputError(f"{source} is a folder or a device, not an encodings file; check the path")
    try:
        document = parse_json(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no encodings file {source}; check the path") from None
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}; check the path and its permissions") from None
    except ValueError as error:
        raise EncodingError(f"{source} is not valid JSON ({error}); it may be truncated, export it again") from None
    return parse_encodings(document, source.name)


def parse_encodings(document: Any, source: str = "encodings") -> EncodingsFile:
    """The content of a parsed JSON ``document``. Raises EncodingError as :func:`read_encodings` does."""
    if not isinstance(document, dict):
        raise EncodingError(f"{source} holds a {type(document).__name__}, not an encodings object")
    version = str(document.get("version", v06.VERSION if v06.looks_like(document) else "none"))
    if version not in VERSIONS:
        raise EncodingError(f"{source} has version '{version}', not one of {', '.join(VERSIONS)}; export one of these")
    if version == v2.VERSION:
        activations, params = _read_v2(document, source)
    else:
        module = v06 if v06.looks_like(document) else v1
        for key in ("activation_encodings", "param_encodings"):
            if key not in document:
                raise EncodingError(f"{source} has no '{key}'; the file is incomplete, export it again")
        activations = module.read_section(document["activation_encodings"], "activation", source)
        params = module.read_section(document["param_encodings"], "param", source)
    extras = {key: document[key] for key in ("producer", "quantizer_args") if isinstance(document.get(key), dict)}
    return EncodingsFile(version, activations, params, source=source, **extras)


def _read_v2(document: Mapping[str, Any], source: str) -> tuple[dict[str, Encoding], dict[str, Encoding]]:
    if "encodings" not in document:
        raise EncodingError(f"{source} has no 'encodings'; the file is incomplete, export it again")
    encodings = v2.read_list(document["encodings"], source)
    params = {n: e for n, e in encodings.items() if v2.looks_like_param(e)}
    return {n: e for n, e in encodings.items() if n not in params}, params


def write_encodings(
    path: str | os.PathLike[str],
    encodings: Mapping[str, Encoding],
    *,
    activations: Collection[str],
    params: Collection[str],
    version: str = DEFAULT_VERSION,
    graph: Graph | None = None,
    biases: bool = False,
) -> list[str]:
    """Write ``encodings`` atomically, activations and parameters by name in the given order; say what is lost.

    ``graph`` lets 2.0.0 give block scales their tensor's rank and checks axes that other versions imply.
    ``biases``: also write int32 biases into 0.6.1 and 1.0.0 (AIMET does not).
    Returns one sentence for each thing the version cannot hold. Raises EncodingError on an unknown version or a
    name without an encoding, and the errors of core.atomic.
    """
    document = encodings_document(
        encodings, activations=activations, params=params, version=version, graph=graph, biases=biases
    )
    write_text(path, json.dumps(document, indent=2, allow_nan=False))
    return what_is_lost(encodings, version, graph=graph, biases=biases, params=params)


def encodings_document(
    encodings: Mapping[str, Encoding],
    *,
    activations: Collection[str],
    params: Collection[str],
    version: str = DEFAULT_VERSION,
    graph: Graph | None = None,
    biases: bool = False,
) -> dict[str, Any]:
    """The JSON document that :func:`write_encodings` writes."""
    check_version(version)
    missing = [n for n in (*activations, *params) if n not in encodings]
    if missing:
        raise EncodingError(f"there is no encoding for '{missing[0]}'; calibrate before exporting")
    acts, pars = {n: encodings[n] for n in activations}, {n: encodings[n] for n in params}
    head: dict[str, Any] = {"version": version, "producer": producer()}
    if version == v2.VERSION:
        return head | {"encodings": v2.write_list(acts | pars, _ranks(graph))}
    if not biases:
        pars = {n: e for n, e in pars.items() if not is_bias(e)}
    module = v06 if version == v06.VERSION else v1
    body = {"activation_encodings": module.write_section(acts), "param_encodings": module.write_section(pars)}
    return head | body | {"quantizer_args": _quantizer_args(acts, pars), "excluded_layers": []}


def producer() -> dict[str, str]:
    """Who wrote the file."""
    return {"package": "hexaquant", "version": importlib.metadata.version("hexaquant")}


def _ranks(graph: Graph | None) -> dict[str, int]:
    if graph is None:
        return {}
    shapes = {v.name: shape_of(v) for v in graph.values() if v.name}
    return {name: len(shape) for name, shape in shapes.items() if name and shape is not None}


def _quantizer_args(acts: Mapping[str, Encoding], params: Mapping[str, Encoding]) -> dict[str, Any]:
    """AIMET's summary of the settings: the largest widths and whether weights are symmetric and per channel."""
    weights = [e.grid for e in params.values() if not is_bias(e)]
    return {
        "activation_bitwidth": max((e.grid.bits for e in acts.values()), default=0),
        "param_bitwidth": max((g.bits for g in weights), default=0),
        "dtype": "float" if weights and all(g.is_float for g in weights) else "int",
        "is_symmetric": any(g.symmetric for g in weights),
        "per_channel_quantization": any(not isinstance(g.granularity, PerTensor) for g in weights),
    }
