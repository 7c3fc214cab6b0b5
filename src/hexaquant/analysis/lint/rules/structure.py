"""Rules about the structure of the graph: operators that need not stand there, or not so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject, formed_by, gone_by
from hexaquant.htp.faults import faults_of
from hexaquant.htp.form_pointwise import form_pointwise
from hexaquant.htp.qdq_view import View
from hexaquant.htp.recurrent.rule import recurrent_nodes, stays_whole
from hexaquant.ir.edit import producer
from hexaquant.ir.graph import Graph, Origin, shape_of
from hexaquant.ir.passes.fold_batchnorm import affine_of, decline_reason
from hexaquant.ir.passes.fold_scalar import fold_scalar
from hexaquant.ir.passes.fuse_gelu import fuse_gelu
from hexaquant.ir.passes.fuse_hardswish import fuse_hardswish
from hexaquant.ir.passes.fuse_layernorm import fuse_layernorm
from hexaquant.ir.passes.fuse_rmsnorm import fuse_rmsnorm
from hexaquant.ir.passes.merge_reshapes import merge_reshapes
from hexaquant.ir.passes.move_transposes import move_transposes
from hexaquant.ir.passes.remove_unused import remove_unused

# BatchNormalization that stands in the graph.
#
# Behind a convolution or linear layer it disappears into the weights. Anywhere else the target multiplies and adds: two
# more tensors to quantize, and the factors of all channels share one grid. hexaquant folds it at import where that is
# legal (ir/passes/fold_batchnorm.py, which also gives the reason where it is not).

BATCHNORM = "batchnorm"
WHY_BATCHNORM = (
    "unfolded it is a Mul and an Add: two more quantized tensors, and one grid for the factors of all channels"
)


def batchnorm(subject: Subject) -> Iterator[Finding]:
    """Info where it folds, warning with the reason where it does not."""
    left = {node.name: node for node in subject.cleaned.nodes if node.op_type == "BatchNormalization"}
    for node in subject.written.nodes:
        if node.op_type != "BatchNormalization" or node.domain != "":
            continue
        if node.name not in left:
            fix = f"{BY_IMPORT}: it is folded into the layer before"
            yield about(
                subject.written,
                node,
                BATCHNORM,
                "info",
                "BatchNormalization is not folded",
                WHY_BATCHNORM,
                fix,
                fixable=True,
            )
            continue
        reason = decline_reason(left[node.name]) or "its parameters are computed"
        text = f"BatchNormalization cannot be folded: {reason}{_spread(left[node.name])}"
        tensor = f"{node.outputs[0].name}_scaled"  # of the Mul that import makes of it
        yield about(subject.written, node, BATCHNORM, "warning", text, WHY_BATCHNORM, _remedy(reason), tensor=tensor)


def _spread(node: oir.Node) -> str:
    affine = affine_of(node)
    if affine is None:
        return ""
    sizes = np.abs(affine[0])
    ratio = float(sizes.max() / max(float(np.median(sizes)), 1e-30))
    return f"; its largest factor is {ratio:.0f} times the median" if ratio >= 10 else ""


def _remedy(reason: str) -> str:
    if "also used elsewhere" in reason:
        return "let the other reader take the normalized tensor, or put the normalization into both branches"
    if "shared" in reason:
        return "give the layer a weight of its own"
    if "parameters" in reason:
        return "export the model in eval mode"
    return "put it directly behind a convolution or linear layer, or keep this layer in 16 bits (--overrides)"


# Functions that the target has as one operator, written out in many.
#
# Quantized operator by operator each intermediate tensor loses accuracy (squares and roots most of all) and takes a
# pass over memory. Measured on the emulator (release 2.7.0), 64 tokens of 256 channels: RMSNorm in 7 operators 29 dB
# in 16 bits and -18 dB in 8 in 84 us of sa8255p; as one operator 54 and 11 dB in 42 and 20 us. Erf alone is refused.
# hexaquant forms the operators at import (ir/passes/fuse_*.py).


@dataclass(frozen=True)
class Pattern:
    """``rewrite`` makes ``operators`` of what ``words`` describe."""

    rule: str
    rewrite: Callable[[Graph], int]
    operators: tuple[str, ...]
    words: str

    def __call__(self, subject: Subject) -> Iterator[Finding]:
        """One info an occurrence, at the layer of the pattern's last operator."""
        for operator in self.operators:
            for node in formed_by(subject.cleaned, self.rewrite, operator):
                why = f"operator by operator each step is quantized; the target has {operator} as one"
                fix = f"{BY_IMPORT}: it is one {operator}"
                yield about(subject.cleaned, node, self.rule, "info", self.words, why, fix, fixable=True)


decomposed_gelu = Pattern("decomposed-gelu", fuse_gelu, ("Gelu",), "GELU is written out with Erf")
decomposed_layernorm = Pattern(
    "decomposed-layernorm",
    fuse_layernorm,
    ("LayerNormalization",),
    "LayerNorm is written out with mean and square root",
)
decomposed_rmsnorm = Pattern(
    "decomposed-rmsnorm", fuse_rmsnorm, ("RMSNormalization",), "RMSNorm is written out with square, mean and root"
)
decomposed_hardswish = Pattern(
    "decomposed-hardswish", fuse_hardswish, ("HardSwish", "HardSigmoid"), "HardSwish is written out with Add and Clip"
)


# Attention that scales its queries, keys or scores by a number in operators of their own.
#
# Each is one more pass over the tensor and one more rounding to the grid. The number belongs into the linear layer that
# makes the queries (ir/passes/fold_scalar.py), which costs nothing. Not done at import, since encodings that other
# tools made name the scaled tensors.

ATTENTION_SCALE = "attention-scale"
WHY_ATTENTION_SCALE = (
    "it is a pass over the tensor and a rounding to the grid that the linear layer before can do for nothing"
)


def attention_scale(subject: Subject) -> Iterator[Finding]:
    """One warning a Mul or Div that the linear layer could do."""
    for node in gone_by(subject.imported, fold_scalar, ("Mul", "Div")):
        text = f"{node.op_type} by a number behind a linear layer"
        yield about(
            subject.imported,
            node,
            ATTENTION_SCALE,
            "warning",
            text,
            WHY_ATTENTION_SCALE,
            "multiply the weights by it",
            fixable=True,
        )


# A constant matrix times a computed one, over axis 1: W (N, C) @ x (B, C, L).
#
# The target runs it as a product of two activations: refused with 16-bit activations, no scale a channel, no int32
# bias. As a 1x1 convolution it has both. Measured (release 2.7.0, sa8255p, 96 x 784 to 384 channels): 94 us against
# 158 in w8a8, 109 against 469 in w8a16. Linear layers (x @ W) need no such help: Gemm and 1x1 convolution compile to
# the same cycles, Transposes around included (64 to 196 tokens, 8 and 16 bits). hexaquant rewrites the former
# (htp/form_pointwise.py).

LINEAR_AS_CONVOLUTION = "linear-as-convolution"
WHY_LINEAR_AS_CONVOLUTION = "as a product of two activations it is slower, coarser, and refused with 16-bit activations"


def linear_as_convolution(subject: Subject) -> Iterator[Finding]:
    """One info a product, which hexaquant makes a convolution."""
    for node in formed_by(subject.imported, form_pointwise, "Conv"):
        text = "a constant matrix from the left: a 1x1 convolution"
        fix = f"{BY_IMPORT}: it is a 1x1 convolution"
        yield about(
            subject.imported, node, LINEAR_AS_CONVOLUTION, "info", text, WHY_LINEAR_AS_CONVOLUTION, fix, fixable=True
        )


# Transposes that cancel: behind each other, or once they are moved past the operators between.
#
# Left in the graph each may move the whole tensor through memory. Import composes a Transpose of a Transpose; moving
# them (ir/passes/move_transposes.py) is done with --fix only, since encodings that other tools made name tensors in
# their old layout.

TRANSPOSE_CHAIN = "transpose-chain"
WHY_TRANSPOSE_CHAIN = "a Transpose that the compiler cannot absorb moves the whole tensor through memory"


def transpose_chain(subject: Subject) -> Iterator[Finding]:
    """Info for chains that import composes, warning for Transposes that cancel once they are moved."""
    for node in subject.written.nodes:
        first = producer(node.inputs[0], "Transpose") if node.op_type == "Transpose" and node.inputs else None
        if first is None or (subject.remains(node) and subject.remains(first)):
            continue
        text = f"Transpose of the Transpose '{first.name}'"
        yield about(
            subject.written,
            node,
            TRANSPOSE_CHAIN,
            "info",
            text,
            WHY_TRANSPOSE_CHAIN,
            f"{BY_IMPORT}: they become one or none",
            fixable=True,
        )
    fewer = move_transposes(subject.imported.clone())
    for node in gone_by(subject.imported, move_transposes, ("Transpose",)) if fewer else ():
        text = f"Transpose{_size(node)} that cancels once moved ({fewer} fewer in all)"
        yield about(
            subject.imported,
            node,
            TRANSPOSE_CHAIN,
            "warning",
            text,
            WHY_TRANSPOSE_CHAIN,
            "use one layout from input to output",
            fixable=True,
        )


def _size(node: oir.Node) -> str:
    shape = shape_of(node.outputs[0]) or ()
    known = [d for d in shape if isinstance(d, int)]
    return f" of {math.prod(known):,} values" if known else ""


# Reshapes of Reshapes, and reductions that drop a dimension which the next operator brings back.
#
# Most cost nothing on the target, but each is a tensor more in the graph. Merged with --fix
# (ir/passes/merge_reshapes.py).

RESHAPE_CHAIN = "reshape-chain"
KINDS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")
WHY_RESHAPE_CHAIN = "each is one more tensor in the graph, and outside of rank 4 it may be moved through memory"


def reshape_chain(subject: Subject) -> Iterator[Finding]:
    """One info per operator that would be gone."""
    for node in gone_by(subject.imported, lambda g: merge_reshapes(g) and remove_unused(g) + 1, KINDS):
        text = f"{node.op_type} whose result is only reshaped again"
        yield about(
            subject.imported, node, RESHAPE_CHAIN, "info", text, WHY_RESHAPE_CHAIN, "write one Reshape", fixable=True
        )


# Operators that no output needs, inputs that nothing reads, outputs that depend on no input.
#
# Import removes dead operators, so they cost nothing; but they show that the exported graph is not the one that was
# meant (a loss, a training head). A constant output is a mistake most of the time.

DEAD_BRANCH = "dead-branch"


def dead_branch(subject: Subject) -> Iterator[Finding]:
    """One info a branch, at its last operator; warnings for unused inputs and constant outputs."""
    graph = subject.written
    alive = _ancestors(list(graph.outputs))
    for node in graph.nodes:
        if node in alive or any(list(v.uses()) for v in node.outputs):
            continue
        branch = _ancestors([v for v in node.inputs if v is not None]) - alive
        text = f"no output needs it ({len(branch) + 1} operators in this branch)"
        why = "dead operators cost nothing on the target, but the graph may not be the one you meant"
        yield about(graph, node, DEAD_BRANCH, "info", text, why, f"{BY_IMPORT}: they are removed", fixable=True)
    yield from _idle(graph)


def _idle(graph: Graph) -> Iterator[Finding]:
    for value in graph.inputs:
        if not list(value.uses()) and not value.is_graph_output():
            layer = Origin(node=f"input {value.name}")
            why = "it must be fed all the same"
            yield Finding(
                DEAD_BRANCH, "warning", layer, "input", "nothing reads it", why, "remove it", value.name or ""
            )
    for value in graph.outputs:
        node = value.producer()
        if node is None or _reads_input(value):
            continue
        why = "it is the same for every sample; the target has nothing to compute"
        yield about(
            graph, node, DEAD_BRANCH, "warning", "the output depends on no input", why, "return it from your own code"
        )


def _reads_input(output: oir.Value) -> bool:
    nodes = _ancestors([output])
    random = any(node.op_type.startswith("Random") for node in nodes)
    return random or any(v is not None and v.is_graph_input() for node in nodes for v in node.inputs)


def _ancestors(values: list[oir.Value]) -> set[oir.Node]:
    """All nodes that ``values`` are computed from."""
    found: set[oir.Node] = set()
    todo = [v.producer() for v in values]
    while todo:
        node = todo.pop()
        if node is None or node in found:
            continue
        found.add(node)
        todo += [v.producer() for v in node.inputs if v is not None]
    return found


# Operators that the target would compute wrongly, slowly or not at all, and that hexaquant writes in another form.
#
# The faults of the target are those of htp/faults.py; what becomes of LSTM, GRU and RNN, htp/recurrent/rule.py. Told so
# that the user knows why the compiled graph has other operators.

REWRITTEN = "rewritten"
IN_FLOAT16 = "it computes in float16, which lowering writes out step by step; its inputs and outputs stay quantized"
UNROLLED = "the target has no float16: it is unrolled into linear layers and activations of integers"
BEFORE_PLANNING = "hexaquant does this for you before planning"


def rewritten(subject: Subject) -> Iterator[Finding]:
    """One info per operator."""
    view = View(subject.imported.model.graph)
    recurrent = set(recurrent_nodes(subject.imported))
    bad = {judgement.layer.node for judgement in subject.judgements if judgement.is_bad}
    for node in subject.imported.nodes:
        reasons = [f"{f.reason(what)}: it becomes {f.mended_as}" for f, what in faults_of(view, node) if f.mend]
        if node in recurrent:
            reasons.append(IN_FLOAT16 if stays_whole(subject.target) else UNROLLED)
        if reasons and node.name not in bad:
            text = f"{node.op_type} is rewritten"
            why = "; ".join(reasons)
            yield about(subject.imported, node, REWRITTEN, "info", text, why, BEFORE_PLANNING)
