"""AveragePool that the target computes wrongly, without a word, is written so that it computes it right.

Measured on the emulator of release 2.7.0 (v75; 4x4 windows on v69 and v73 too), error in steps of uint8:

- windows with kernel = stride, two or more axes of which are even and at least 4 (20 at 4x4, 26 at 8x8; one crash):
  they become one AveragePool an axis, each of which is exact;
- windows with kernel = stride over padding that counts (148); other windows over uneven padding that does not count
  (139); ``ceil_mode`` that adds a window (183). The padding becomes explicit, does not count in the former and counts
  in the others, and a product with a constant map corrects the windows in which another number of elements shall
  count. Where ceil_mode adds nothing the attribute is dropped.

(Any windows over a cropped map: crops.py.)

A window over the whole input becomes GlobalAveragePool. Legal when the windows are not dilated and, for padding and
``ceil_mode``, the size of the input is known. (A depthwise convolution would do too, but the target has none with
strides of 4 and more.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.htp.qdq_view import View
from hexaquant.ir.edit import (
    add_constant,
    insert_before,
    int_attribute,
    ints_attribute,
    replace_node,
    string_attribute,
)
from hexaquant.ir.graph import Graph, shape_of


@dataclass(frozen=True)
class Window:
    """Of one spatial axis. ``size``: length of the input; None when it is not known, which only plain windows allow."""

    size: int | None
    kernel: int
    stride: int
    before: int
    after: int
    ceil: bool

    def outputs(self, ceil: bool) -> int:
        """Number of windows. A last one that would start in the trailing padding does not count."""
        assert self.size is not None
        room = self.size + self.before + self.after - self.kernel
        steps = -(-room // self.stride) if ceil else room // self.stride
        if ceil and steps * self.stride >= self.size + self.before:
            steps -= 1
        return steps + 1

    @property
    def is_ragged(self) -> bool:
        """Whether ``ceil_mode`` adds a window."""
        return self.ceil and self.outputs(True) != self.outputs(False)

    @property
    def padding(self) -> tuple[int, int]:
        """Pads before and after, with which floor visits the same windows."""
        if not self.is_ragged:
            return self.before, self.after
        assert self.size is not None
        return self.before, (self.outputs(True) - 1) * self.stride + self.kernel - self.size - self.before

    def counts(self, with_pads: bool) -> np.ndarray:
        """Number of elements that count in each window."""
        assert self.size is not None
        low, high = (-self.before, self.size + self.after) if with_pads else (0, self.size)
        starts = np.arange(self.outputs(self.ceil)) * self.stride - self.before
        taps = starts[:, None] + np.arange(self.kernel)
        return ((taps >= low) & (taps < high)).sum(axis=1)


def form_pooling(graph: Graph) -> int:
    """Returns the number of AveragePool operators rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "AveragePool" and _has_explicit_pads(node):
            changed += _rewrite(graph.model.graph, node)
    return changed


def find_average_pool(view: View, node: oir.Node) -> str:
    """Windows of those kinds, in integers."""
    windows = _windows(node) if _has_explicit_pads(node) and view.has_bits(node, 8, 16) else None
    if windows is None or (all(_is_whole(window) for window in windows) and not view.is_qdq):
        return ""
    if any(w.is_ragged for w in windows):
        return "averages over a last window that ceil_mode adds"
    if _is_padded_wrongly(node, windows):
        return "averages over padding"
    return "averages over windows of even sizes without overlap" if _are_even_tiles(windows) else ""


def mend_average_pool(view: View, node: oir.Node) -> bool:
    """In a QDQ graph only windows over the whole input: what would come between has no encoding there."""
    windows = _windows(node)
    is_whole = windows is not None and all(_is_whole(window) for window in windows)
    return (is_whole or not view.is_qdq) and _rewrite(view.graph, node)


def _has_explicit_pads(node: oir.Node) -> bool:
    return string_attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _is_whole(window: Window) -> bool:
    return window.size == window.kernel and not (window.before or window.after)


def _rewrite(graph: oir.Graph, node: oir.Node) -> bool:
    windows = _windows(node)
    if windows is None:
        return False
    if all(_is_whole(window) for window in windows):
        replace_node(node, "GlobalAveragePool", [node.inputs[0]], {})
        return True
    if any(w.is_ragged for w in windows) or _is_padded_wrongly(node, windows):
        _pad_and_correct(graph, node, windows)
        return True
    had_ceil = node.attributes.pop("ceil_mode", None) is not None and windows[0].ceil
    if _are_even_tiles(windows):
        _pool_each_axis(node, windows)
        return True
    return had_ceil


def _windows(node: oir.Node) -> list[Window] | None:
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    if shape is None:
        return None
    sizes = [d if isinstance(d, int) else None for d in shape[2:]]
    ones = [1] * len(sizes)
    ceil = bool(int_attribute(node, "ceil_mode", 0))
    kernel = ints_attribute(node, "kernel_shape")
    strides = ints_attribute(node, "strides", ones)
    dilations = ints_attribute(node, "dilations", ones)
    pads = ints_attribute(node, "pads", [0] * 2 * len(sizes))
    needs_size = ceil or any(pads)
    if len(kernel) != len(sizes) or any(d != 1 for d in dilations) or (needs_size and None in sizes):
        return None
    ends = zip(pads[: len(sizes)], pads[len(sizes) :], strict=True)
    rows = zip(sizes, kernel, strides, ends, strict=True)
    return [Window(n, k, s, before, after, ceil) for n, k, s, (before, after) in rows]


def _is_padded_wrongly(node: oir.Node, windows: list[Window]) -> bool:
    if int_attribute(node, "count_include_pad", 0):
        return _are_tiles(windows) and any(w.before or w.after for w in windows)
    return not _are_tiles(windows) and any(w.before != w.after for w in windows)


def _are_tiles(windows: list[Window]) -> bool:
    return all(w.kernel == w.stride for w in windows)


def _are_even_tiles(windows: list[Window]) -> bool:
    return _are_tiles(windows) and sum(w.kernel % 2 == 0 and w.kernel >= 4 for w in windows) >= 2


def _pad_and_correct(graph: oir.Graph, node: oir.Node, windows: list[Window]) -> None:
    output = node.outputs[0]
    name = output.name or "pool"
    pads_count = not _are_tiles(windows)
    factors = _correction(windows, pads_count, bool(int_attribute(node, "count_include_pad", 0)))
    attributes = {
        "kernel_shape": [w.kernel for w in windows],
        "strides": [w.stride for w in windows],
        "pads": [w.padding[0] for w in windows] + [w.padding[1] for w in windows],
        "count_include_pad": int(pads_count),
    }
    if bool((factors == 1).all()):
        pool = replace_node(node, "AveragePool", [node.inputs[0]], attributes)
    else:
        mean = insert_before(node, "AveragePool", [node.inputs[0]], attributes, f"{name}_mean")
        mean.shape = output.shape
        mean.type = output.type
        replace_node(node, "Mul", [mean, add_constant(graph, f"{name}.correction", factors)], {})
        pool = mean.producer() or node
    plain = _windows(pool)
    if plain is not None and _are_even_tiles(plain):
        _pool_each_axis(pool, plain)


def _correction(windows: list[Window], counted: bool, wanted: bool) -> np.ndarray:
    """(1, 1, *outputs): elements over which the pooling averages (all, or those that are no padding) over those that
    shall count (with or without padding)."""
    factors = np.ones((1, 1), np.float32)
    for window in windows:
        elements = np.float32(window.kernel) if counted else window.counts(False)
        factors = factors[..., None] * (elements / window.counts(wanted)).astype(np.float32)
    return factors


def _pool_each_axis(node: oir.Node, windows: list[Window]) -> None:
    source = node.inputs[0]
    output = node.outputs[0]
    rank = len(windows)
    dims = list(shape_of(source) or ()) if source is not None else []
    done = list(shape_of(output) or [None] * (rank + 2))
    for axis, window in enumerate(windows):
        kernel = [1] * rank
        pads = [0] * 2 * rank
        kernel[axis], pads[axis], pads[rank + axis] = window.kernel, window.before, window.after
        attributes = {"kernel_shape": kernel, "strides": kernel, "pads": pads}
        attributes["count_include_pad"] = int_attribute(node, "count_include_pad", 0)  # type: ignore[assignment]
        if axis == rank - 1:
            replace_node(node, "AveragePool", [source], attributes)
            return
        source = insert_before(node, "AveragePool", [source], attributes, f"{output.name}_axis{axis + 2}")
        dims[axis + 2] = done[axis + 2]
        source.shape = oir.Shape(dims)
        source.type = output.type
