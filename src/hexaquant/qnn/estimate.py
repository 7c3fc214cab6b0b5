"""Qualcomm's performance estimate of a compiled graph, which the library makes for some SoCs as it compiles.

A prediction for exactly that SoC: nothing is executed, and nothing is said about any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hexaquant.qnn.profile import Event, Stage

ESTIMATED_SOCS = (52, 62, 63, 72, 77, 95, 114)
"""SoC models for which the libraries of release 2.7.0 estimate, found by asking for every number up to 119."""
_ESTIMATE = 2004
"""QNN_HTP_PROFILE_EVENTTYPE of the event that holds the following."""
_FIGURES = {
    2006: "cycles",
    2007: "cycles_low",
    2008: "cycles_high",
    2019: "us",
    2020: "us_low",
    2021: "us_high",
    2017: "ops_without_cost",
}
_TRAFFIC = {
    2011: "input_fill",
    2012: "intermediate_fill",
    2013: "intermediate_spill",
    2014: "inter_htp_fill",
    2015: "inter_htp_spill",
    2016: "output_spill",
}


@dataclass(frozen=True)
class Estimate:
    """``cycles`` of the accelerator and ``us`` (microseconds) of one inference, each with the library's bounds.

    ``*_fill`` and ``*_spill``: bytes moved from and to DDR memory, summed over the NPU's cores. ``ops_without_cost``:
    operators that the figures leave out.
    """

    soc_model: int
    graph: str
    o_level: int
    cycles: int
    cycles_low: int
    cycles_high: int
    us: int
    us_low: int
    us_high: int
    input_fill: int
    intermediate_fill: int
    intermediate_spill: int
    inter_htp_fill: int
    inter_htp_spill: int
    output_spill: int
    ops_without_cost: int


def estimates_of(stages: Sequence[Stage], soc_model: int, o_level: int) -> list[Estimate]:
    """The estimate of each finalized graph; empty where the library makes none for the SoC."""
    found = []
    for stage in stages:
        event = next((e for e in _all(stage.events) if e.type == _ESTIMATE), None)
        if stage.kind == "finalize" and event is not None:
            found.append(Estimate(soc_model, stage.graph, o_level, **_figures(event)))
    return found


def _figures(estimate: Event) -> dict[str, int]:
    figures = dict.fromkeys((*_FIGURES.values(), *_TRAFFIC.values()), 0)
    for event in _all(estimate.parts):
        name = _FIGURES.get(event.type) or _TRAFFIC.get(event.type)
        if name is not None:
            figures[name] += event.value
    return figures


def _all(events: Sequence[Event]) -> Iterator[Event]:
    for event in events:
        yield event
        yield from _all(event.parts)
