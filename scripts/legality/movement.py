"""Cases of operators that move, select, reduce or count."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from legality.case import Case
from legality.operands import RANKS, case, f, f0, i0, indices, ints, w, x

REDUCTIONS = ["Mean", "Sum", "Max", "Min", "L2", "LogSumExp", "SumSquare"]


def cases() -> Iterator[Case]:
    for rank, shape in RANKS.items():
        yield from _shapes(rank, shape)
        yield from _pads(rank, shape)
        yield from _reductions(rank, shape)
        if rank < 5:
            yield from _selections(rank, shape)
    yield case("Gather", x(*RANKS[5]), ints(0, 0, 1), axis=1)
    for axis in (-1, 1):
        yield case("TopK", x(*RANKS[5]), ints(1), axis=axis, outputs=2)
    yield from _spaces()
    yield from _made_up()
    for name in ("Prod", "L1", "LogSum"):
        yield case(f"Reduce{name}", x(*RANKS[4], low=0.3), ints(3), keepdims=1)


def _shapes(rank: int, shape: tuple[int, ...]) -> Iterator[Case]:
    """Without the Transpose to channels last: alone in a network it is refused in integers, beside any other operator
    it runs."""
    size = int(np.prod(shape))
    for target in RANKS:
        wanted = [1] * (target - 2) + [2, size // 2] if target > 1 else [size]
        yield case("Reshape", x(*shape), ints(*wanted))
    if rank < 4:
        yield case("Reshape", x(1, 1, *shape), ints(*shape))
    yield case("Transpose", x(*shape), perm=list(reversed(range(rank))))
    if rank > 2:
        yield case("Transpose", x(*shape), perm=[1, 0, *range(2, rank)])
    yield case("Flatten", x(*shape), axis=1 if rank > 1 else 0)
    yield case("Squeeze", x(1, *shape[1:]), ints(0))
    yield case("Unsqueeze", x(*shape), ints(0))
    yield case("Unsqueeze", x(*shape), ints(rank))
    for axis in {0, rank - 1, min(1, rank - 1)}:
        yield case("Concat", x(*shape), x(*shape), axis=axis)
        yield case("Concat", x(*shape), w(*shape), axis=axis)
        if shape[axis] % 2 == 0:
            yield case("Split", x(*shape), axis=axis, num_outputs=2, outputs=2)
        yield case("Slice", x(*shape), ints(0), ints(max(shape[axis] - 1, 1)), ints(axis))
    yield case("Slice", x(*shape), ints(0), ints(100), ints(rank - 1), ints(2))
    yield case("Slice", x(*shape), ints(-1), ints(-100), ints(rank - 1), ints(-1))
    yield case("Tile", x(*shape), ints(*[1] * (rank - 1), 2))
    yield case("Expand", x(*shape[:-1], 1), ints(*shape))
    yield case("Expand", x(*shape), ints(2, *shape))


def _selections(rank: int, shape: tuple[int, ...]) -> Iterator[Case]:
    for axis in {0, rank - 1}:
        yield case("Gather", x(*shape), ints(0, 0, shape[axis] - 1), axis=axis)
        yield case("Gather", x(*shape), i0(0), axis=axis)
        yield case("Gather", x(*shape), indices(3, below=shape[axis]), axis=axis)
        yield case("GatherElements", x(*shape), indices(*shape, below=shape[axis]), axis=axis)
        yield case("GatherElements", x(*shape), np.zeros(shape, np.int64), axis=axis)
        yield case("ScatterElements", x(*shape), _backwards(shape, axis), x(*shape), axis=axis)
        yield case("TopK", x(*shape), ints(1), axis=axis, outputs=2)
        for op in ("ArgMax", "ArgMin"):
            yield case(op, x(*shape), axis=axis, keepdims=0 if rank > 1 else 1)
            yield case(op, x(*shape), axis=axis, keepdims=1)
        yield case("CumSum", x(*shape), i0(axis))
    yield case("TopK", x(*shape), ints(3), axis=-1, outputs=2)
    yield case("GatherND", x(*shape), np.zeros((3, 1), np.int64))
    yield case("GatherND", x(*shape), indices(3, 1, below=shape[0]))
    yield case("ScatterND", x(*shape), np.zeros((1, 1), np.int64), x(1, *shape[1:]))
    yield case("Gather", w(10, *shape[1:]), indices(1, 4, below=10), axis=0)


def _backwards(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Indices that turn ``axis`` round: each is written once, so that the order of writing does not matter."""
    return np.ascontiguousarray(np.flip(np.indices(shape)[axis], axis)).astype(np.int64)


def _reductions(rank: int, shape: tuple[int, ...]) -> Iterator[Case]:
    axis_sets = {(rank - 1,)} | ({tuple(range(2, rank))} if rank > 3 else set()) | {tuple(range(rank))}
    for name in REDUCTIONS if rank < 5 else ("Mean", "Sum", "Max", "Min", "L2"):
        for axes in sorted(axis_sets):
            for keep in (0, 1) if name in ("Mean", "Sum", "Max") else (1,):
                yield case(f"Reduce{name}", x(*shape), ints(*axes), keepdims=keep)


def _pads(rank: int, shape: tuple[int, ...]) -> Iterator[Case]:
    last = [0] * (rank - 1) + [1]
    spatial = [0, 0, *[1] * (rank - 2)] if rank > 2 else last
    for mode in ("constant", "reflect", "edge"):
        for begin in (last, spatial):
            yield case("Pad", x(*shape), ints(*begin, *begin), mode=mode)
    yield case("Pad", x(*shape), ints(*last, *last), f0(0.5))


def _spaces() -> Iterator[Case]:
    for mode in ("DCR", "CRD"):
        yield case("DepthToSpace", x(1, 8, 6, 6), blocksize=2, mode=mode)
    yield case("SpaceToDepth", x(1, 8, 6, 6), blocksize=2)
    yield case("Col2Im", x(1, 18, 16), ints(6, 6), ints(3, 3))
    yield case("MaxUnpool", x(1, 2, 3, 3), np.arange(18).reshape(1, 2, 3, 3) * 4, kernel_shape=[2, 2], strides=[2, 2])


def _made_up() -> Iterator[Case]:
    yield case("Trilu", x(3, 3))
    yield case("OneHot", indices(4, below=4), i0(4), f(0, 1))
    yield case("NonZero", x(4, 4))
    yield case("Compress", x(4, 4), np.array([True, False, True, True]), axis=0)
    yield case("ReverseSequence", x(4, 3), np.full(3, 4, np.int64))
    for op in ("Identity", "Dropout"):  # Shape and Size are constants by lowering
        yield case(op, x(*RANKS[4]))
    yield case("CastLike", x(*RANKS[4]), f0(0))
    yield case("RandomUniformLike", x(1, 8))
    yield case("RandomNormalLike", x(1, 8))
    yield case("EyeLike", x(4, 4))
    yield case("Range", i0(0), indices(below=5), i0(1))
    yield case("ConstantOfShape", indices(2, below=4))
    yield case("BitShift", np.ones((2, 4), np.uint32), np.ones((2, 4), np.uint32), direction="LEFT")
