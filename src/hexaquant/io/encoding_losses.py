"""What each version of AIMET's encodings files cannot hold, said in one sentence per tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as oir

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.io import encodings_v06 as v06
from hexaquant.io import encodings_v1 as v1
from hexaquant.io import encodings_v2 as v2
from hexaquant.io.channel_axes import block_axis, channel_axis
from hexaquant.io.encoding_fields import is_bias
from hexaquant.ir.graph import Graph, shape_of

VERSIONS = (v06.VERSION, v1.VERSION, v2.VERSION)


def check_version(version: str) -> None:
    """Raises EncodingError when ``version`` is not one that can be read and written."""
    if version not in VERSIONS:
        raise EncodingError(f"encodings version '{version}' is unknown; choose one of {', '.join(VERSIONS)}")


def what_is_lost(
    encodings: Mapping[str, Encoding],
    version: str,
    *,
    graph: Graph | None = None,
    biases: bool = False,
    params: Collection[str] = (),
) -> list[str]:
    """One sentence for each thing about ``encodings`` that ``version`` cannot hold."""
    check_version(version)
    if version == v2.VERSION:
        return [m for name, e in encodings.items() for m in _lost_in_v2(name, e)]
    values = {v.name: v for v in graph.values() if v.name} if graph else {}
    lost = []
    for name, encoding in encodings.items():
        if is_bias(encoding) and not biases:
            lost.append(f"'{name}': the int32 bias encoding is not written to version {version}")
            continue
        lost += _lost_in_v1(name, encoding, version, name in params, values.get(name))
    return lost


def _lost_in_v2(name: str, encoding: Encoding) -> list[str]:
    grid = encoding.grid
    if not v2.writable(encoding):
        return [f"'{name}': version 2.0.0 has no {grid}, the tensor is left out"]
    if grid.symmetric and not grid.signed:
        return [f"'{name}': version 2.0.0 does not say that an unsigned tensor is symmetric"]
    if isinstance(grid.granularity, Lpbq) and grid.granularity.decompressed_bits != 2 * grid.bits:
        return [f"'{name}': version 2.0.0 takes an LPBQ scale to expand to {2 * grid.bits} bits"]
    return []


def _lost_in_v1(name: str, encoding: Encoding, version: str, is_param: bool, value: oir.Value | None) -> list[str]:
    grid = encoding.grid
    lost = []
    if not grid.is_float and grid.signed != (is_param and grid.symmetric):
        lost.append(f"'{name}': version {version} does not hold {'' if grid.signed else 'un'}signed storage")
    if version == v06.VERSION and isinstance(grid.granularity, Lpbq):
        lost.append(f"'{name}': version 0.6.1 has no LPBQ, its block scales are written as plain floats")
    elif version == v06.VERSION and encoding.step.numel() == 1 and not isinstance(grid.granularity, PerTensor):
        lost.append(f"'{name}': version 0.6.1 takes a single scale for per-tensor")
    elif version == v06.VERSION and isinstance(grid.granularity, PerBlock) and encoding.scale.shape[1] == 1:
        lost.append(f"'{name}': version 0.6.1 takes one block per channel for per-channel")
    if value is not None and not _axes_are_implied(encoding, value):
        lost.append(f"'{name}': version {version} implies other axes than {grid.granularity}")
    return lost


def _axes_are_implied(encoding: Encoding, value: oir.Value) -> bool:
    layout = encoding.grid.granularity
    shape = shape_of(value)
    if shape is None or isinstance(layout, PerTensor) or encoding.grid.is_float:
        return True
    rank = len(shape)
    implied = channel_axis(value, rank)
    if isinstance(layout, PerChannel):
        first_fitting = shape.index(shape[layout.axis])
        return layout.axis % rank == (first_fitting if implied is None else implied)
    channel = 0 if implied is None else implied
    assert isinstance(layout, PerBlock | Lpbq)
    return (layout.channel_axis % rank, layout.axis % rank) == (channel, block_axis(channel, rank))
