"""Offline Hadamard rotation of a transformer's residual stream (R1): large channels are spread over all of them.

    x -> Q x,   W_out -> Q W_out,   b_out -> Q b_out,   W_in -> W_in Q^T,   with Q Q^T = I and Q 1 = 1

Q mixes (transforms/rotate_heads.py), so that the outlier channels of residual streams, which decide the range and
carry little information, disappear from activations that have one range for the tensor. The target needs no new
operator.

Paper: Ashkboos et al., "QuaRot", NeurIPS 2024 (arXiv:2404.00456), section 4, step 1a. There the stream must be
RMS-normalized, and LayerNorm's subtraction of the mean is folded into the layers before (SliceGPT, arXiv:2401.15024).
Here Q 1 = 1 makes the mean pass the rotation, so that LayerNorm stays as it is. Legal for a space
(transforms/rotation_spaces.py) when:

1. all that writes or reads it are linear layers, tables and constants of their own, and normalizations over it;
2. each normalization of it is read by linear layers only, into which its gamma, beta and the rotation are folded
   (gamma becomes 1, beta 0);
3. or, with ``extra_linears``, where the normalized values enter the next sum (post-norm: BERT), one more linear layer
   Q' diag(gamma) Q^T follows the normalization. It costs as much as a query projection. Each space has a Q of its own:
   with the same one on both sides that matrix would be nearly diagonal, and rounding its many small entries with the
   scale of the diagonal cost 12 dB in MiniLM.

Everything else is declined with the reason. The function stays the same to float32 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir

from hexaquant.htp.linear import form_linear
from hexaquant.ir.edit import add_constant, taken_names, unique_name
from hexaquant.ir.graph import Graph, constant
from hexaquant.transforms.fold_norm_scale import affine, decline_reason, fold, reset
from hexaquant.transforms.rotate_heads import Matrix, mixing_matrix
from hexaquant.transforms.rotation_spaces import Norm, Spaces


@dataclass
class Rotated:
    """``spaces``: size of each rotated one; ``folded``, ``extra``: normalizations; ``declined``: tensor -> reason."""

    spaces: list[int] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    declined: dict[str, str] = field(default_factory=dict)


def rotate_transformer(graph: Graph, *, extra_linears: bool = False, seed: int = 0) -> Rotated:
    """Rotate ``graph`` (prepared for the target) in place."""
    spaces = Spaces(graph)
    report = Rotated()
    chosen = _choose(spaces, extra_linears, report)
    rotations = {number: mixing_matrix(spaces[number].size, seed + i) for i, number in enumerate(sorted(chosen))}
    report.spaces = [spaces[number].size for number in sorted(chosen)]
    for norm in spaces.norms:
        if norm.source not in chosen and norm.result not in chosen:
            continue
        name = str(graph.origin(norm.node))
        if _folds(spaces, norm):
            fold(norm, spaces[norm.result])
            report.folded.append(name)
        else:
            _follow(graph, norm, rotations.get(norm.source), rotations.get(norm.result))
            report.extra.append(name)
    for norm in spaces.norms:
        if norm.source in chosen and _folds(spaces, norm):
            rotations[norm.result] = rotations[norm.source]
    for number, rotation in rotations.items():
        for port in spaces[number].writers + spaces[number].readers:
            port.turn(rotation)
    form_linear(graph)
    return report


def _choose(spaces: Spaces, extra_linears: bool, report: Rotated) -> set[int]:
    """The spaces to rotate: those that are normalized (and, post-norm, those that normalizations write)."""
    chosen = set()
    for norm in spaces.norms:
        for number in {norm.source, norm.result}:
            if number == norm.result and _folds(spaces, norm):
                continue
            if spaces[number].blocked:
                report.declined[_name(norm, number)] = spaces[number].blocked
            else:
                chosen.add(number)
    while not extra_linears:
        stuck = [n for n in spaces.norms if {n.source, n.result} & chosen and not _folds(spaces, n)]
        if not stuck:
            break
        for norm in stuck:
            for number in {norm.source, norm.result} & chosen:
                report.declined[_name(norm, number)] = (
                    f"the output of {spaces.graph.origin(norm.node)} is not read by linear layers alone, so that its "
                    "scale needs one more linear layer (extra_linears)"
                )
                chosen.discard(number)
    return chosen


def _name(norm: Norm, number: int) -> str:
    value = norm.node.inputs[0] if number == norm.source else norm.node.outputs[0]
    return (value.name if value is not None else None) or ""


def _folds(spaces: Spaces, norm: Norm) -> bool:
    return decline_reason(spaces, norm) is None


def _follow(graph: Graph, norm: Norm, before: Matrix | None, after: Matrix | None) -> None:
    """Put y -> after (gamma (before^T y)) + after beta behind ``norm``, which keeps neither gamma nor beta."""
    gamma, beta = affine(norm.node)
    matrix = np.diag(gamma) if before is None else gamma[:, None] * before.T
    if after is not None:
        matrix = after @ matrix
        beta = after @ beta
    reset(norm.node)
    core = graph.model.graph
    old = norm.node.outputs[0]
    name, dtype = old.name or "norm", constant(norm.node.inputs[1]).dtype  # type: ignore[union-attr]
    weight = add_constant(core, f"{name}.rotation.weight", matrix.T.astype(dtype))
    bias = add_constant(core, f"{name}.rotation.bias", beta.astype(dtype))
    fresh = oir.Value(name=None, shape=old.shape, type=old.type)
    old.replace_all_uses_with(fresh, replace_graph_outputs=True)
    product = oir.node("MatMul", [old, weight], name=f"{name}_rotation")
    total = oir.node("Add", [product.outputs[0], bias], outputs=[fresh], name=f"{name}_rotation_bias")
    old.name = unique_name(f"{name}_normalized", taken_names(core))
    product.outputs[0].name, fresh.name = unique_name(f"{name}_product", taken_names(core)), name
    product.outputs[0].shape = old.shape
    product.outputs[0].type = old.type
    for node in (product, total):
        node.metadata_props.update(norm.node.metadata_props)
    core.insert_after(norm.node, [product, total])
