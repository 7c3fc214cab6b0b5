"""Labels of channels: joined by union, carried over reshapes."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.transforms.channel_ids import PINNED, Labels, fits, on_axis, reshape_ids, vector


def test_joined_labels_have_one_root_and_pinned_wins() -> None:
    labels = Labels()
    a, b, c = labels.fresh(3), labels.fresh(3), labels.fresh(1)
    labels.union(a, b)
    labels.union(b[:1], np.zeros((), np.int64))
    roots = labels.roots()
    assert roots[a].tolist() == roots[b].tolist() == [PINNED, a[1], a[2]]
    assert labels.free(a) == 2 and labels.free(c) == 1


def test_a_broadcast_union_joins_every_channel_with_the_one() -> None:
    labels = Labels()
    a, one = labels.fresh(4), labels.fresh(1)
    labels.union(on_axis(a, 4, 1), on_axis(one, 4, 1))
    assert len(set(labels.roots()[a].tolist())) == 1


@pytest.mark.parametrize(
    ("labelled", "before", "after", "expected"),
    [
        ((1, 6, 1, 1), ("N", 6, 1, 1), ("N", 6), (1, 6)),
        ((1, 6, 1, 1), ("N", 6, 2, 2), ("N", 24), (1, 24)),
        ((1, 1, 6), ("N", 5, 6), (None, 6), (1, 6)),
        ((1, 6), (None, 6), ("N", 5, 6), (1, 1, 6)),
        ((1, 1, 6), ("N", 5, 6), ("N", 5, 2, 3), (1, 1, 2, 3)),
        ((1, 1, 2, 3), ("N", 5, 2, 3), ("N", 5, 6), (1, 1, 6)),
        ((1, 6, 1), ("N", 6, 4), ("N", 4, 6), (1, 4, 6)),
    ],
)
def test_labels_follow_a_reshape(labelled: tuple, before: tuple, after: tuple, expected: tuple) -> None:
    ids = np.arange(1, 7).reshape(labelled)
    result = reshape_ids(ids, before, after)
    assert result is not None and result.shape == expected
    sizes = [5 if not isinstance(d, int) else d for d in before]
    wanted = np.broadcast_to(ids, sizes).reshape([-1 if not isinstance(d, int) else d for d in after])
    np.testing.assert_array_equal(np.broadcast_to(result, wanted.shape), wanted)


def test_labels_left_of_an_unknown_dimension_are_not_followed() -> None:
    assert reshape_ids(np.arange(6).reshape(1, 6, 1), ("N", 6, "L"), (None, 6)) is None


def test_a_constant_must_not_grow() -> None:
    ids = on_axis(np.arange(6), 4, 1)
    assert fits(ids, (1, 6, 1, 1)) and fits(ids, (6, 8, 8)) and not fits(ids, (6,)) and not fits(ids, ())


def test_labels_on_another_axis_are_no_vector() -> None:
    assert vector(np.arange(6).reshape(1, 2, 3), 1, 2) is None
    assert vector(np.arange(6).reshape(1, 6, 1), 1, 6) is not None
