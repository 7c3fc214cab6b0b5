"""The faults of the target, one row each: forms that it refuses or computes wrongly without a word.

Preparing a graph mends all (for_target.py); lowering mends those that arrive ready-made in a QDQ graph and refuses the
rest; planning and lint refuse what will be left at lowering, in the same words; docs/legality.md lists the rows. A new
fault is one row here and one test.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as oir

from hexaquant.core.errors import TargetError
from hexaquant.htp import chains, crops, layers, movement, pooling, widen_depthwise
from hexaquant.htp.kernels import MAX_RANK
from hexaquant.htp.qdq_view import DEQUANTIZE, QUANTIZE, View
from hexaquant.ir.graph import Graph, shape_of

RELEASE = "2.7.0"
"""Of the onnxruntime-qnn wheel on whose emulator every row was measured."""


@dataclass(frozen=True)
class Fault:
    """One fault. ``operators``: where to look; empty for all. ``find``: what is wrong with a node, or nothing.

    ``effect``: what the target does with it; ``remedy``: what the user can do; ``measured``: what was seen (SQNR or
    steps against onnxruntime's CPU); ``mend``: rewrites the node in place with every number unchanged and says whether
    it could, None where no equal form exists; ``mended_as``: in words. ``at_lowering``: only lowering mends it, for the
    types are known only there.
    """

    name: str
    operators: tuple[str, ...]
    find: Callable[[View, oir.Node], str]
    effect: str
    remedy: str
    measured: str
    mend: Callable[[View, oir.Node], bool] | None = None
    mended_as: str = ""
    status: Literal["refused", "wrong"] = "wrong"
    at_lowering: bool = False

    def reason(self, what: str) -> str:
        """ "reads one row of one feature, which the target never comes back from"."""
        return f"{what}, which the target {self.effect}"


def _find_high_rank(view: View, node: oir.Node) -> str:
    shapes = [shape_of(value) for value in (*node.inputs, *node.outputs) if value is not None]
    rank = max((len(shape) for shape in shapes if shape is not None), default=0)
    return f"has a tensor of rank {rank}" if rank > MAX_RANK else ""


FAULTS: tuple[Fault, ...] = (
    Fault(
        "high-rank",
        (),
        _find_high_rank,
        f"refuses: it takes at most {MAX_RANK}",
        "merge axes",
        "refused in every type",
        status="refused",
    ),
    Fault(
        "computed-bias",
        ("Conv", "ConvTranspose", "Gemm"),
        layers.find_computed_bias,
        "refuses",
        "add it behind the layer",
        "the provider forms no quantized unit of it",
        layers.add_bias_after,
        "the layer without it, and an Add",
        status="refused",
    ),
    Fault(
        "lone-feature",
        ("Gemm", "MatMul"),
        layers.find_lone_feature,
        "never comes back from",
        "write it as a 1x1 Conv",
        "compiling a constant matrix of several outputs hangs, whatever the architecture; float16 is right (72 dB)",
        layers.layer_as_convolution,
        "a 1x1 convolution between reshapes",
        status="refused",
    ),
    Fault(
        "rank-5-product",
        ("MatMul",),
        layers.find_rank_five_product,
        "refuses or computes wrongly",
        "reshape it to four dimensions",
        "-11 dB, or refused",
        layers.merge_batch_axes,
        "a product of rank 4 between reshapes",
    ),
    Fault(
        "weight-axis",
        ("MatMul", "Gemm"),
        layers.find_weight_axis,
        "computes wrongly",
        "give one scale for each output channel or one for the tensor",
        "24 steps of uint8, 10414 of uint16: scales go by output channel",
    ),
    Fault(
        "bias-scale",
        ("Conv", "ConvTranspose", "Gemm"),
        layers.find_bias_scale,
        "computes wrongly",
        "requantize it so",
        "74 steps of uint8, 21779 of uint16: the bias' own scale is ignored",
    ),
    Fault(
        "squares",
        ("Reshape",),
        movement.find_squares,
        "computes wrongly",
        "flatten it first",
        "the values leave in another order: -5 to 0.5 dB in every integer type, whatever the architecture",
        movement.flatten_first,
        "two reshapes, through a flat row",
    ),
    Fault(
        "turned-square",
        ("Transpose",),
        movement.find_turned_square,
        "leaves out",
        "drop the unit axes first",
        "-2 to 11 dB for every F in 8 and 16 bits: the values stay in their order; of rank 5 it is right",
        movement.transpose_matrix,
        "the transposition of a matrix between reshapes (exact)",
    ),
    Fault(
        "number-of-a-pool",
        ("Reshape",),
        movement.find_number_of_a_pool,
        "fails to prepare",
        "reduce with ReduceMax or ReduceMean instead",
        "graph prepare fails on v75 and v81 in 8 and 16 bits, over further reshapes, too; float16 is right (69 dB)",
        movement.pool_as_reduction,
        "the reduction that computes the same",
        status="refused",
    ),
    Fault(
        "average-pool",
        ("AveragePool",),
        pooling.find_average_pool,
        "computes wrongly",
        "pad explicitly, and pool one axis after the other",
        "20 to 183 steps of uint8 (pooling.py)",
        pooling.mend_average_pool,
        "plain windows with explicit padding, one axis after the other, and a product that corrects the counts",
    ),
    Fault(
        "cropped-window",
        ("AveragePool", "Conv"),
        crops.find_cropped_window,
        "computes wrongly",
        "cut them by Gather",
        "-13 to 10 dB in 8 bits, 16 bits and float16 (crops.py)",
        crops.cut_by_gathers,
        "Gathers in the place of Slices and Splits",
        at_lowering=True,
    ),
    Fault(
        "clip-beside-zero",
        ("Clip",),
        chains.find_clip_beside_zero,
        "computes wrongly",
        "write it as a Min of a Max",
        "2 to 17 dB in 8 and 16 bits: the operator before tries to do the clipping, but a quantized range holds zero",
        chains.clip_as_min_of_max,
        "a Min of a Max (above 46 dB in 8 bits, 65 dB in 16 bits)",
    ),
    Fault(
        "clip-beyond-range",
        ("Clip",),
        chains.find_clip_beyond_range,
        "computes wrongly",
        "write it as a Relu",
        "-0.1 dB in 8 and 16 bits behind a convolution with an encoding of its own (TFLite 16x8 has it so)",
        chains.clip_as_relu,
        "a Relu (44 dB in 8 bits, 83 dB in 16 bits)",
        at_lowering=True,
    ),
    Fault(
        "max-of-min",
        ("Max",),
        chains.find_max_of_min,
        "computes wrongly in 16 bits",
        "swap the operands of the Max",
        "9 to 18 dB with a lower bound above zero; with the constant first in either operator it is exact",
        chains.swap_operands,
        "the same Max with its constant first",
    ),
    Fault(
        "small-reciprocal",
        ("Reciprocal",),
        chains.find_small_reciprocal,
        "computes wrongly",
        "write it as Div of 1 by the input",
        "10 dB for 0.3 to 0.7, 0.5 dB for 0.01 to 0.05, in 8 and 16 bits",
        chains.reciprocal_as_division,
        "a division (within 1 step of uint8)",
    ),
    Fault(
        "undone-difference",
        ("Add",),
        chains.find_undone_difference,
        "computes wrongly",
        "swap its operands",
        "-1 to 4 dB: the subtraction is cancelled against the addition over an activation that is merged",
        chains.swap_operands,
        "the same Add with its operands swapped (exact)",
    ),
    Fault(
        "gated-by-itself",
        ("Mul",),
        chains.find_gated_by_itself,
        "computes wrongly",
        "put a Max with -1 behind the Sigmoid",
        "SiLU in 16 bits, 1 to 27 dB for heights 2, 4 and 8 to 12 of a map, by chance; in 8 bits it is right",
        chains.gate_apart,
        "the same Mul with a Max of the gate and -1 between (exact)",
        at_lowering=True,
    ),
    Fault(
        "partial-sum",
        ("CumSum",),
        movement.find_partial_sum,
        "refuses",
        "shift or turn the tensor around a plain running sum",
        '"QNN only supports default value 0 for exclusive attribute"; likewise reverse',
        movement.shift_and_turn,
        "a plain running sum of the shifted or turned tensor",
        status="refused",
    ),
    Fault(
        "turned-sum",
        ("CumSum",),
        movement.find_turned_sum,
        "computes wrongly in 8 bits",
        "transpose around it",
        "-9 to -1 dB; along the last axis 33 to 42 dB",
        movement.transpose_around,
        "a running sum along the last axis between transposes",
    ),
    Fault(
        "space-encoding",
        ("DepthToSpace", "SpaceToDepth"),
        movement.find_space_encoding,
        "computes wrongly",
        "give both the same",
        "37 steps of uint8, 9822 of uint16: values only move",
    ),
    Fault(
        "float-edge-pad",
        ("Pad",),
        movement.find_float_edge_pad,
        "fills with zeros",
        "write it as a Gather of repeated indices",
        "6 to 9 dB; in integer types it is right",
        movement.gather_edges,
        "a Gather that repeats the first and the last position",
        at_lowering=True,
    ),
    Fault(
        "narrow-depthwise",
        ("Conv",),
        widen_depthwise.find_narrow_depthwise,
        "refuses or computes wrongly",
        "give its weight one scale for each channel, or a second tap of zeros",
        "-8 to 12 dB, or not prepared at all (widen_depthwise.py)",
        widen_depthwise.widen,
        "a kernel with a second tap of zeros",
        at_lowering=True,
    ),
)
"""In this order: what one row makes may be what a later one looks for."""


def faults_of(view: View, node: oir.Node) -> Iterator[tuple[Fault, str]]:
    """Every fault that ``node`` has, with what is wrong."""
    for fault in FAULTS:
        if _concerns(fault, node) and (what := fault.find(view, node)):
            yield fault, what


def _concerns(fault: Fault, node: oir.Node) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in (fault.operators or (node.op_type,))


def mend_faults(graph: Graph, names: Collection[str] = ()) -> dict[str, int]:
    """Mend in place what ``graph`` (float, not yet planned) has of ``names`` (default: all that can be mended before a
    plan); returns how often each was."""
    view, chosen = View(graph.model.graph), [f for f in FAULTS if f.name in names or not (names or f.at_lowering)]
    return {fault.name: sum(done for _, _, done in _mend(fault, view)) for fault in chosen}


def mend_or_refuse(model: oir.Model, source: str, arch: int) -> dict[str, int]:
    """Mend in place what ``model`` (QDQ) has, and return how often each. Raises TargetError naming the node that cannot
    be mended."""
    view, mended = View(model.graph, lambda _: None, arch), dict.fromkeys((fault.name for fault in FAULTS), 0)
    for fault in FAULTS:
        for node, what, is_mended in _mend(fault, view):
            mended[fault.name] += is_mended
            if not is_mended:
                raise TargetError(f"{source}: '{node.name}' ({node.op_type}) {fault.reason(what)}: {fault.remedy}")
    view.drop_unread()
    return mended


def _mend(fault: Fault, view: View) -> Iterator[tuple[oir.Node, str, bool]]:
    for node in list(view.graph):
        if node.graph is None or node.op_type in (QUANTIZE, DEQUANTIZE) or not _concerns(fault, node):
            continue
        what = fault.find(view, node)
        if what:
            yield node, what, fault.mend is not None and fault.mend(view, node)


def faults_left(graph: Graph, arch: int) -> list[tuple[oir.Node, Fault, str]]:
    """What lowering for ``arch`` will refuse of ``graph`` when it is a QDQ graph: (node, fault, what is wrong)."""
    copy = graph.clone()
    view, nodes = View(copy.model.graph, arch=arch), dict(zip(copy.nodes, graph.nodes))
    if not view.is_qdq:
        return []
    mends = ((fault, found) for fault in FAULTS for found in _mend(fault, view))
    return [(nodes[node], fault, what) for fault, (node, what, is_mended) in mends if not is_mended and node in nodes]


def left_at_lowering(view: View, node: oir.Node) -> tuple[Fault, str] | None:
    """The first fault of ``node`` that lowering will refuse: what it can mend itself is none."""
    for fault, what in faults_of(view, node):
        if not fault.at_lowering or not _is_mended_in_copy(fault, view, node):
            return fault, what
    return None


def _is_mended_in_copy(fault: Fault, view: View, node: oir.Node) -> bool:
    copy = view.graph.clone()
    twin = next(other for other, own in zip(copy, view.graph) if own is node)
    return fault.mend is not None and fault.mend(View(copy, arch=view.arch), twin)
