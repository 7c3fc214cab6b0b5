"""Geometry of sliding windows: strides, dilations and padding of convolutions and pools, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Per spatial axis: kernel size, stride, dilation, padding before and after."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Number of input elements that the dilated kernel spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation))

    @property
    def symmetric(self) -> bool:
        return self.before == self.after

    def flat_pads(self) -> list[int]:
        """Padding in the order of ``torch.nn.functional.pad``: last axis first, before then after."""
        return [p for pair in zip(reversed(self.before), reversed(self.after)) for p in pair]


def resolve(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> Window:
    """The window over an input of spatial ``size`` with ONNX's defaults and ``auto_pad`` resolved."""
    rank = len(kernel)
    stride = tuple(strides) if strides else (1,) * rank
    dilation = tuple(dilations) if dilations else (1,) * rank
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
        whole = [max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(size, stride, extents)]
        small = tuple(w // 2 for w in whole)
        large = tuple(w - w // 2 for w in whole)
        before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    elif pads and auto_pad == "NOTSET":
        before = tuple(pads[:rank])
        after = tuple(pads[rank:])
    else:
        before = after = (0,) * rank
    return Window(tuple(kernel), stride, dilation, before, after)
