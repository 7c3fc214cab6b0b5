"""Ties: tensors that share one encoding because integers are copied between them outside the network.

A tensor that only moves data is represented by the one that it moves; inputs and computed tensors can be tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hexaquant.core.errors import InputError
from hexaquant.sim.overrides import Tie
from hexaquant.sim.plan import QuantPlan, TensorPlan


def tie_tensors(plan: QuantPlan, ties: Sequence[Tie]) -> QuantPlan:
    """``plan`` with the tensors of each tie bound to the first of them.

    Raises InputError when a tie holds fewer than two tensors, or tensors whose integers cannot be the same.
    """
    tensors = dict(plan.tensors)
    for tie in ties:
        names = dict.fromkeys(plan.root(name).name for name in plan.tensors if tie.matches(name))
        members = [tensors[name] for name in names]
        if len(members) < 2:
            raise InputError(f"override '{tie.name}' ties one tensor; a tie needs two or more: correct its globs")
        _check(tie, members)
        first = members[0].name
        tensors |= {member.name: replace(member, tie=first) for member in members}
    return replace(plan, tensors=tensors)


def _check(tie: Tie, members: Sequence[TensorPlan]) -> None:
    first = members[0]
    for member in members:
        if member.how != "observed" or member.clamp is not None:
            what = "has a fused activation" if member.clamp is not None else f"is {member.how}, not observed"
            raise InputError(f"override '{tie.name}' ties '{member.name}', which {what}: take it out of the tie")
        if member.grid != first.grid:
            raise InputError(
                f"override '{tie.name}' ties '{first.name}' ({first.grid}) and '{member.name}' ({member.grid}): "
                "give both the same bits and symmetry"
            )
        if member.tie is not None:
            raise InputError(f"override '{tie.name}' ties '{member.name}', which another tie holds: join the two")
