"""Einsum becomes Transpose, Reshape, MatMul, Mul, ReduceSum and, for diagonals, Slice.

For every operand: a letter that it repeats is cut to the diagonal, a letter that nobody else reads is summed. Then two
operands at a time become one, from the left. Their letters are *batch* (in both, and still needed), *summed* (in both,
and done with), *left* and *right*:

    MatMul (a as batch, left, summed;  b as batch, summed, right)   ->   batch, left, right

where each of left, summed and right is one axis, merged where it stands for several letters. With nothing to sum the
product is a Mul of operands brought to the same axes. A constant operand goes to the right, where it is a weight.

Legal when all ranks are known, one letter at most stands for a free dimension, and the equation is a static text (it
always is); dimensions of 1 broadcast as ONNX has it. Source: ONNX Operators.md, Einsum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.edit import string_attribute
from hexaquant.ir.emitter import FREE_BATCH, Emitter, free_dims
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of

BATCH_AXES = 2
"""Batch axes of a product that stay as they are: kernels take matrices of rank 4; more are merged into one."""


@dataclass(frozen=True)
class Term:
    """An operand and the letter of each of its axes."""

    value: oir.Value
    letters: str


def einsum_to_matmul(graph: Graph) -> int:
    """Returns the number of Einsum nodes rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "Einsum" and node.domain == "":
            changed += _rewrite(node)
    return changed


def _rewrite(node: oir.Node) -> bool:
    ranks = [None if v is None or v.shape is None else len(v.shape) for v in node.inputs]
    if any(rank is None for rank in ranks):
        return False
    letters, result = parse(string_attribute(node, "equation", ""), [rank or 0 for rank in ranks])
    sizes = _sizes([v for v in node.inputs if v is not None], letters)
    if sizes is None:
        return False
    writer = _Writer(node, sizes, result)
    terms = [Term(v, text) for v, text in zip(node.inputs, letters, strict=True) if v is not None]
    writer.write(terms)
    return True


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """A letter an axis, for each operand and for the result; "..." gets letters of its own, aligned at its end."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    hidden = max([rank - len(t) + 3 for t, rank in zip(terms, ranks) if "..." in t], default=0)
    extra = "".join(chr(0x3B1 + index) for index in range(hidden))
    full = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term) + 3
        full.append(term.replace("...", extra[len(extra) - count :] if "..." in term and count else ""))
    everything = "".join(full)
    if arrow:
        return full, right.replace("...", extra)
    once = sorted(letter for letter in set(everything) - set(extra) if everything.count(letter) == 1)
    return full, extra + "".join(once)


def _sizes(values: list[oir.Value], letters: list[str]) -> dict[str, sympy.Expr] | None:
    """The dimension each letter stands for; None where more than one is free."""
    sizes: dict[str, sympy.Expr] = {}
    for value, text in zip(values, letters, strict=True):
        for letter, dim in zip(text, free_dims(value) or [], strict=True):
            if (
                letter not in sizes
                or sizes[letter] == 1
                or (not sizes[letter].is_Integer and dim.is_Integer and dim != 1)
            ):
                sizes[letter] = dim
    return sizes if sum(not dim.is_Integer for dim in sizes.values()) <= 1 else None


class _Writer:
    """The operators in the place of one Einsum. ``sizes``: dimension by letter; ``result``: letters of its output."""

    def __init__(self, node: oir.Node, sizes: dict[str, sympy.Expr], result: str) -> None:
        self.emit = Emitter(node)
        self.sizes = sizes
        self.result = result
        self.name = node.outputs[0].name or "einsum"

    def write(self, terms: list[Term]) -> None:
        terms = [self._diagonal(self._squeezed(term)) for term in terms]
        for index, term in enumerate(terms):
            others = [*terms[:index], *terms[index + 1 :]]
            terms[index] = self._summed(term, self._needed(others))
        while len(terms) > 1:
            first, second, *rest = terms
            terms = [self._joined(first, second, self._needed(rest)), *rest]
        term = self._summed(terms[0], self.result)
        self.emit.finish(self._ordered(self._with_ones(term), self.result))

    def _needed(self, others: list[Term]) -> str:
        return self.result + "".join(term.letters for term in others)

    def _squeezed(self, term: Term) -> Term:
        """Without axes of 1 that broadcast against another operand's."""
        dims = free_dims(term.value) or []
        numbers = dims_of(term.value) or []
        whole = (sympy.Integer(1), FREE_BATCH)
        kept = [i for i, letter in enumerate(term.letters) if numbers[i] != 1 or self.sizes[letter] in whole]
        if len(kept) == len(dims):
            return term
        value = self.emit.reshaped(term.value, [dims[i] for i in kept], f"{self.name}_squeezed")
        return Term(value, "".join(term.letters[i] for i in kept))

    def _diagonal(self, term: Term) -> Term:
        """One axis for a letter that stands twice."""
        twice = next((letter for letter in term.letters if term.letters.count(letter) > 1), "")
        if not twice:
            return term
        first, second = [i for i, letter in enumerate(term.letters) if letter == twice][:2]
        rest = [i for i in range(len(term.letters)) if i not in (first, second)]
        value = self.emit.transposed(term.value, [*rest, first, second], f"{self.name}_turned")
        size = self.sizes[twice]
        flat = [*((free_dims(value) or [])[:-2]), size * size]
        value = self.emit.reshaped(value, flat, f"{self.name}_flat")
        bounds = ([0], [int(size) ** 2], [len(rest)], [int(size) + 1])
        slices = [self.emit.constant(f"{self.name}_diagonal", np.array(b, np.int64)) for b in bounds]
        value = self.emit.op("Slice", [value, *slices], f"{self.name}_diagonal")
        return self._diagonal(Term(value, "".join(term.letters[i] for i in rest) + twice))

    def _summed(self, term: Term, needed: str) -> Term:
        axes = [i for i, letter in enumerate(term.letters) if letter not in needed]
        if not axes:
            return term
        listed = self.emit.constant(f"{self.name}_axes", np.array(axes, np.int64))
        value = self.emit.op("ReduceSum", [term.value, listed], f"{self.name}_sum", keepdims=0)
        return Term(value, "".join(letter for letter in term.letters if letter in needed))

    def _joined(self, a: Term, b: Term, needed: str) -> Term:
        if constant(a.value) is not None and constant(b.value) is None:
            a, b = b, a
        shared = [letter for letter in a.letters if letter in b.letters]
        summed = [letter for letter in shared if letter not in needed]
        left = [letter for letter in a.letters if letter not in shared]
        right = [letter for letter in b.letters if letter not in shared]
        if not summed:
            return self._product(a, b, right)
        batch = [letter for letter in shared if letter in needed]
        return self._matrix_product(a, b, batch, left, summed, right)

    def _product(self, a: Term, b: Term, right: list[str]) -> Term:
        letters = a.letters + "".join(right)
        ends = [*(self._dims(a.letters)), *[sympy.Integer(1)] * len(right)]
        first = self.emit.reshaped(a.value, ends, f"{self.name}_left")
        order = "".join(letter for letter in letters if letter in b.letters)
        dims = [self.sizes[letter] if letter in b.letters else sympy.Integer(1) for letter in letters]
        start = next((i for i, letter in enumerate(letters) if letter in b.letters), 0)
        second = self.emit.reshaped(self._ordered(b, order), dims[start:], f"{self.name}_right")
        return Term(self.emit.op("Mul", [first, second], f"{self.name}_product"), letters)

    def _matrix_product(
        self, a: Term, b: Term, batch: list[str], left: list[str], summed: list[str], right: list[str]
    ) -> Term:
        rows = [[letter] for letter in left] if not batch and left else [left]
        stacks = [[letter] for letter in batch] if len(batch) <= BATCH_AXES else [batch]
        first = self._grouped(a, [*stacks, *rows, summed])
        second = self._grouped(b, [*stacks, summed, right])
        value = self.emit.op("MatMul", [first, second], f"{self.name}_matmul")
        letters = "".join([*batch, *left, *right])
        return Term(self.emit.reshaped(value, self._dims(letters), f"{self.name}_apart"), letters)

    def _grouped(self, term: Term, groups: list[list[str]]) -> oir.Value:
        """The operand with one axis per group of letters, 1 for an empty one."""
        ordered = self._ordered(term, "".join(letter for group in groups for letter in group))
        dims = [math.prod(self._dims("".join(group)), start=sympy.Integer(1)) for group in groups]
        return self.emit.reshaped(ordered, dims, f"{self.name}_grouped")

    def _with_ones(self, term: Term) -> Term:
        """With the letters of the result that only operands with a broadcast 1 had."""
        missing = "".join(letter for letter in self.result if letter not in term.letters)
        if not missing:
            return term
        letters = term.letters + missing
        return Term(self.emit.reshaped(term.value, self._dims(letters), f"{self.name}_ones"), letters)

    def _ordered(self, term: Term, letters: str) -> oir.Value:
        return self.emit.transposed(term.value, [term.letters.index(x) for x in letters], f"{self.name}_ordered")

    def _dims(self, letters: str) -> list[sympy.Expr]:
        return [self.sizes[letter] for letter in letters]
