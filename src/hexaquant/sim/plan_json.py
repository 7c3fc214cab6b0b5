"""A QuantPlan as plain data for the manifest, and back: an artifact keeps the plan that it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.grid import Granularity, Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.htp.scheme import Scheme
from hexaquant.htp.soc import find_target
from hexaquant.sim.plan import QuantPlan, TensorPlan

_FIELDS = ("source", "weight", "low", "high", "clamp", "layer", "reason", "observer", "tie", "holds", "margin", "along")


def plan_to_json(plan: QuantPlan) -> dict[str, Any]:
    """JSON values; :func:`plan_from_json` gives the same plan back."""
    scheme = plan.scheme
    return {
        "target": plan.target.name,
        "scheme": [scheme.name, scheme.weight_bits, scheme.act_bits, scheme.is_float],
        "bypass": list(plan.bypass),
        "warnings": list(plan.warnings),
        "tensors": {tensor.name: _tensor_json(tensor) for tensor in plan},
    }


def plan_from_json(data: Mapping[str, Any]) -> QuantPlan:
    """The plan that :func:`plan_to_json` wrote. Raises InputError when something is missing or wrong."""
    try:
        tensors = {name: _tensor(name, entry) for name, entry in data["tensors"].items()}
        scheme = Scheme(*data["scheme"])
        target = find_target(data["target"])
        return QuantPlan(target, scheme, tensors, tuple(data["bypass"]), tuple(data["warnings"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the plan in the manifest is damaged ({error!r}): quantize the model again") from None


def _tensor_json(plan: TensorPlan) -> dict[str, Any]:
    data: dict[str, Any] = {"role": plan.role, "how": plan.how}
    if plan.grid is not None:
        data["grid"] = grid_json(plan.grid)
    for key in _FIELDS:
        value = getattr(plan, key)
        if value not in (None, ""):
            data[key] = list(value) if isinstance(value, tuple) else value
    return data


def _tensor(name: str, data: Mapping[str, Any]) -> TensorPlan:
    given = {key: data[key] for key in _FIELDS if key in data}
    given |= {key: tuple(given[key]) for key in ("clamp", "holds") if key in given}
    grid = grid_from_json(data["grid"]) if "grid" in data else None
    return TensorPlan(name, data["role"], data["how"], grid, **given)


def grid_json(grid: Grid) -> dict[str, Any]:
    """A grid as plain data."""
    data: dict[str, Any] = {"bits": grid.bits, "kind": grid.kind}
    if grid.is_float:
        return data
    data |= {"signed": grid.signed, "symmetric": grid.symmetric}
    where = grid.granularity
    if isinstance(where, PerTensor):
        return data
    data |= {"granularity": {PerChannel: "channel", PerBlock: "block", Lpbq: "lpbq"}[type(where)], "axis": where.axis}
    if isinstance(where, PerBlock | Lpbq):
        data |= {"block_size": where.block_size, "channel_axis": where.channel_axis}
    if isinstance(where, Lpbq):
        data["decompressed_bits"] = where.decompressed_bits
    return data


def grid_from_json(data: Mapping[str, Any]) -> Grid:
    """The grid that :func:`grid_json` wrote."""
    if data["kind"] == "float":
        return Grid(data["bits"], kind="float")
    return Grid(data["bits"], data["signed"], data["symmetric"], _granularity(data))


def _granularity(data: Mapping[str, Any]) -> Granularity:
    kind = data.get("granularity")
    if kind is None:
        return PerTensor()
    if kind == "channel":
        return PerChannel(data["axis"])
    if kind == "block":
        return PerBlock(data["axis"], data["block_size"], data["channel_axis"])
    return Lpbq(data["axis"], data["block_size"], data["channel_axis"], data["decompressed_bits"])
