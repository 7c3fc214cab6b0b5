"""Parameters that several layers of a module share, and that training or bias correction has parted.

The graph has one copy for each layer whose grid differs (htp/separate_biases.py, sim/planner.py): a bias of int32 has
the scale of its own input. What became of the copies goes back like this:

1. All are equal: the shared parameter gets their value.
2. Layers with a place of their own in the module (``b.bias is a.bias``): each gets a parameter of its own.
3. Uses that the module cannot tell apart (a layer that is called twice, a parameter used as it is): their mean, which
   is nearest to all of them; the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hexaquant.ir.edit import COPY_OF
from hexaquant.ir.graph import Graph


@dataclass
class SharedParameters:
    """``values``: parameter of the module -> what it gets; ``read``: names of the graph that this covers; ``parted``:
    parameters that were made for it; ``left``: name -> what was lost."""

    values: dict[str, Tensor] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    parted: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def part_shared(
    graph: Graph, values: Mapping[str, Tensor], module: nn.Module, as_imported: Callable[[str, Tensor], Tensor]
) -> SharedParameters:
    """Give the layers of ``module`` that share a parameter their own, where ``values`` (name in the graph -> trained
    tensor) part; ``as_imported`` undoes what the import did to one."""
    result = SharedParameters()
    for base, copies in _copies(graph, values).items():
        targets = dict(module.named_parameters(remove_duplicate=False))
        if base not in targets:
            continue
        result.read |= {base, *copies}
        places: dict[str, list[Tensor]] = {}
        for name in (base, *copies):
            own = f"{_layer(graph, name)}.{base.rpartition('.')[2]}"
            place = own if targets.get(own) is targets[base] else base
            places.setdefault(place, []).append(as_imported(name, values[name]))
        _fill(result, module, targets[base], places)
    return result


def _copies(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Name of a parameter -> names of its copies in the graph."""
    found: dict[str, list[str]] = {}
    for name, value in graph.initializers.items():
        base = value.metadata_props.get(COPY_OF, "")
        if base in values and name in values:
            found.setdefault(base, []).append(name)
    return found


def _layer(graph: Graph, name: str) -> str:
    """Path of the submodule that reads the constant ``name``; a second call of it counts as the first."""
    reader = next(iter(graph.initializers[name].uses()), None)
    return "" if reader is None else graph.origin(reader.node).module.partition("@")[0]


def _fill(result: SharedParameters, module: nn.Module, shared: Tensor, places: dict[str, list[Tensor]]) -> None:
    every = [value for several in places.values() for value in several]
    if all(torch.equal(value, every[0]) for value in every):
        places = {next(iter(places)): every[:1]}
    for index, (place, several) in enumerate(places.items()):
        value = torch.stack(several).mean(0)
        if any(not torch.equal(one, several[0]) for one in several):
            result.left[place] = f"{len(several)} uses of it have different values now: it holds their mean"
        if index:
            path, _, leaf = place.rpartition(".")
            module.get_submodule(path).register_parameter(leaf, nn.Parameter(shared.detach().clone()))
            result.parted.append(place)
        result.values[place] = value
