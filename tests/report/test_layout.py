"""Drawings of graphs: lines point down, boxes keep apart, and what is a chain is straight."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexaquant.report.layout import lay_out

Edges = list[tuple[int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges]:
    count = draw(st.integers(1, 24))
    pairs = list(itertools.combinations(range(count), 2))
    return count, draw(st.lists(st.sampled_from(pairs), max_size=40, unique=True)) if pairs else []


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_lines_point_down_and_boxes_keep_apart(graph: tuple[int, Edges]) -> None:
    count, edges = graph
    found = lay_out(count, edges)
    for (a, b), path in zip(edges, found.edges):
        assert path[0] == found.nodes[a] and path[-1] == found.nodes[b]
        assert [layer for _, layer in path] == list(range(found.nodes[a][1], found.nodes[b][1] + 1))
    for (x0, row0), (x1, row1) in itertools.combinations(found.nodes, 2):
        assert row0 != row1 or abs(x0 - x1) > 0.99
    assert all(0.49 < x < found.width - 0.49 for x, _ in found.nodes)


def test_a_chain_is_straight_and_a_shortcut_goes_around_it() -> None:
    found = lay_out(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 5)])
    assert max(x for x, _ in found.nodes) - min(x for x, _ in found.nodes) < 0.8
    long = found.edges[-1]
    assert all(abs(x - node[0]) > 0.5 for x, row in long[1:-1] for node in found.nodes if node[1] == row)


def test_branches_do_not_cross_when_they_need_not() -> None:
    found = lay_out(7, [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6)])
    order = [found.nodes[i][0] for i in (1, 2, 3)]
    assert sorted(order) == sorted(order) and [found.nodes[i][0] for i in (4, 5, 6)] == pytest.approx(order)


def test_an_empty_graph_needs_no_room() -> None:
    assert lay_out(0, []).layers == 0
