"""The range of masked scores is that of what counts behind the Softmax, with room for what is masked."""

from __future__ import annotations

import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers import make_observer
from hexaquant.core.observers.scores import ScoresObserver

ROWS = torch.tensor([[3.0, 1.0, -2.0], [-1.0, 5.0, 4.0]])
MASK = torch.tensor([[0.0, 0.0, -100.0], [0.0, -100.0, -100.0]])


def observer(axis: int | None = -1) -> ScoresObserver:
    return ScoresObserver(make_observer("min_max", Grid(8)), 10.0, axis, -50.0)


def ends(found: ScoresObserver) -> tuple[float, float]:
    encoding = found.encoding()
    return float(encoding.min), float(encoding.max)


@pytest.mark.parametrize(
    "x,axis,wanted",
    [
        (ROWS + MASK, -1, (-11, 3)),  # the lowest row ends at -1
        (ROWS, -1, (-12, 5)),  # any entry may be what a mask leaves
        (ROWS + MASK, None, (-11, 3)),
        (torch.cat([ROWS + MASK, torch.full((1, 3), -100.0)]), -1, (-11, 3)),  # a row that is masked whole
        (ROWS + MASK.new_tensor([[0.0, 0.0, 0.0], [0.0, -30.0, -100.0]]), -1, (-11, 3)),  # -25 is nothing beside -1
    ],
)
def test_the_range_of_masked_scores(x: torch.Tensor, axis: int | None, wanted: tuple[float, float]) -> None:
    found = observer(axis)
    found.update(x)
    assert ends(found) == pytest.approx(wanted, abs=0.1)


def test_parts_merge_to_the_whole_and_states_come_back() -> None:
    whole, first, second, again = (observer() for _ in range(4))
    whole.update(ROWS + MASK)
    whole.update(ROWS - 4)
    first.update(ROWS + MASK)
    second.update(ROWS - 4)
    first.merge([first.state(), second.state()])
    again.load_state(first.state())
    assert ends(first) == ends(whole) == ends(again)


def test_nan_is_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        observer().update(ROWS * float("nan"))
