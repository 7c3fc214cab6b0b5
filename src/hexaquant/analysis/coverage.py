"""The coverage proof: read the lowered graph back and check that every tensor carries exactly our encoding.

Verdicts: *exact* (a lowered tensor has scale, offset and bits to the last bit, or holds the same numbers as 8-bit
multiples of 16 of a 16th of the scale: htp/depthwise.py), *inherited* (a further lowered
tensor that holds the same data, moved or transposed, with the same encoding), *inserted* (the lowering's own
tensor), *absorbed* (no lowered tensor of its own: data movement that was merged into a neighbour; of the tensors
before and after it one is left, with the encoding that both have), *missing*
(a computed tensor or a weight of ours without a lowered counterpart), *changed* (another encoding than ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.core import html
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import TargetError
from hexaquant.htp import kernels
from hexaquant.io.qdq_reader import read_encoding
from hexaquant.io.qdq_writer import TENSOR
from hexaquant.ir.graph import Graph, constant
from hexaquant.qnn.lower import LowerReport
from hexaquant.qnn.records import QuantInfo, TensorInfo

Verdict = Literal["exact", "inherited", "inserted", "absorbed", "missing", "changed"]
BAD: tuple[Verdict, ...] = ("missing", "changed")


@dataclass(frozen=True)
class Row:
    """One tensor: its ONNX name, its QNN name, what we asked for, what it has, and the verdict."""

    tensor: str
    lowered: str
    asked: str
    has: str
    verdict: Verdict


@dataclass(frozen=True)
class Coverage:
    """The whole proof."""

    rows: tuple[Row, ...]

    def counts(self) -> dict[str, int]:
        """Number of tensors by verdict."""
        result: dict[str, int] = {}
        for row in self.rows:
            result[row.verdict] = result.get(row.verdict, 0) + 1
        return result

    def summary(self) -> str:
        """ "162 exact, 2 inherited"."""
        return ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())

    def _repr_html_(self) -> str:
        """For notebooks: the counts, and the tensors, those that did not arrive first."""
        rows = sorted(self.rows, key=lambda row: row.verdict not in BAD)
        cells = [(row.verdict, row.tensor or row.lowered, row.asked, row.has) for row in rows]
        return html.heading(self.summary()) + html.table(["verdict", "tensor", "asked for", "found"], cells)

    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.verdict in BAD]

    def require_complete(self) -> None:
        """Raise TargetError naming the first tensor whose encoding did not arrive."""
        failures = self.failures()
        if not failures:
            return
        first = failures[0]
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        what = "did not arrive in the DLC" if first.verdict == "missing" else f"arrived as {first.has}"
        raise TargetError(
            f"the encoding {first.asked} of tensor '{first.tensor}' {what}{more}: simulation and device would differ"
        )


@dataclass(frozen=True)
class _Asked:
    tensor: str
    encoding: Encoding
    moved: bool


def prove_coverage(qdq: Graph, report: LowerReport) -> Coverage:
    """Compare the encodings of ``qdq`` (as it was lowered) with those in ``report``'s graph."""
    asked = _asked(qdq, report.refined)
    successors = _successors(qdq)
    rows: list[Row] = []
    seen: set[str] = set()
    for lowered in report.graph.tensors:
        wanted = asked.get(report.names.get(lowered.name, ""))
        if wanted is None:
            if lowered.quant is not None:
                rows.append(Row("", lowered.name, "", describe(lowered), "inserted"))
            continue
        same = matches(wanted.encoding, lowered)
        verdict: Verdict = "changed" if not same else "inherited" if wanted.tensor in seen else "exact"
        if same or lowered.quant is not None:
            rows.append(Row(wanted.tensor, lowered.name, spell(wanted.encoding), describe(lowered), verdict))
            seen.add(wanted.tensor)
    for wanted in {entry.tensor: entry for entry in asked.values()}.values():
        if wanted.tensor not in seen:
            verdict = "absorbed" if wanted.moved or successors.get(wanted.tensor, set()) & seen else "missing"
            rows.append(Row(wanted.tensor, "", spell(wanted.encoding), "", verdict))
    return Coverage(tuple(rows))


def _asked(qdq: Graph, refined: Mapping[str, tuple[int, ...]]) -> dict[str, _Asked]:
    """Stored name (integers, or a graph input or output) -> our tensor and its encoding."""
    result: dict[str, _Asked] = {}
    for node in qdq.nodes:
        stored = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        tensor = node.metadata_props.get(TENSOR, "")
        if stored is None or not tensor:
            continue
        encoding = _refined(read_encoding(node, stored, qdq.source), refined.get(stored.name or "", ()))
        entry = _Asked(tensor, encoding, _is_moved(stored))
        for name in (stored.name, node.outputs[0].name, tensor):
            result.setdefault(name or "", entry)
    return result


def _refined(encoding: Encoding, factors: tuple[int, ...]) -> Encoding:
    """``encoding`` as the lowering writes it where it divides the scales by ``factors``: weights in 8 bits."""
    if not factors:
        return encoding
    grid = replace(encoding.grid, bits=max(encoding.grid.bits, 8))
    scale = encoding.scale / torch.tensor(factors).reshape(encoding.scale.shape)
    return replace(encoding, grid=grid, scale=scale, offset=torch.full_like(encoding.offset, grid.symmetric_offset))


def _successors(qdq: Graph) -> dict[str, set[str]]:
    """Our tensor -> the tensors that data movement makes of it, where these have the same encoding."""
    found: dict[str, set[str]] = {}
    for node in qdq.nodes:
        rule = kernels.rule_of(node.op_type)
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if rule is None or rule.role != "move" or before is None or before.op_type != "DequantizeLinear":
            continue
        for after in _dequantizers(node.outputs[0]):
            pairs = zip(before.inputs[1:3], after.inputs[1:3], strict=False)
            if all(np.array_equal(_data(a), _data(b)) for a, b in pairs):
                found.setdefault(before.metadata_props.get(TENSOR, ""), set()).add(after.metadata_props.get(TENSOR, ""))
    return found


def _dequantizers(value: oir.Value) -> list[oir.Node]:
    """The DequantizeLinear nodes that follow ``value``'s QuantizeLinear."""
    quantizers = [node for node in value.consumers() if node.op_type == "QuantizeLinear"]
    readers = [node for q in quantizers for node in q.outputs[0].consumers()]
    return [node for node in readers if node.op_type == "DequantizeLinear"]


def _is_moved(stored: oir.Value) -> bool:
    """True when the quantized tensor comes from a data-movement operator, or from none.

    None is left where a movement is the identity for the static batch (an Expand to batch 1): then the tensor is a
    quantized tensor requantized with its own encoding.
    """
    quantize = stored.producer()
    source = quantize.inputs[0] if quantize is not None else None
    producer = source.producer() if source is not None else None
    if quantize is None or producer is None:
        return False
    if producer.op_type == "DequantizeLinear":
        pairs = zip(quantize.inputs[1:3], producer.inputs[1:3], strict=False)
        return all(np.array_equal(_data(a), _data(b)) for a, b in pairs)
    rule = kernels.rule_of(producer.op_type)
    return rule is not None and rule.role == "move"


def _data(value: oir.Value | None) -> np.ndarray:
    data = constant(value)
    return np.empty(0) if data is None else data


def matches(encoding: Encoding, lowered: TensorInfo) -> bool:
    """True when ``lowered`` has ``encoding``'s scales, offsets and bits exactly."""
    quant = lowered.quant
    if quant is None:
        return False
    scales = encoding.scale.double().reshape(-1).numpy().astype(np.float32)
    if len(quant.scales) != len(scales) or not np.array_equal(np.asarray(quant.scales, np.float32), scales):
        return False
    offsets = encoding.offset.double().reshape(-1).numpy()
    return bool(np.array_equal(_unsigned_offsets(quant, lowered, encoding.grid.bits), offsets))


def _unsigned_offsets(quant: QuantInfo, lowered: TensorInfo, bits: int) -> np.ndarray:
    """Offsets on the unsigned grid of ``bits``: signed storage lies half the grid lower."""
    offsets = np.asarray(quant.offsets, np.float64)
    return offsets - 2.0 ** (bits - 1) if lowered.dtype.startswith(("int", "sfixed")) else offsets


def spell(encoding: Encoding) -> str:
    """An encoding in a few words."""
    first = float(encoding.scale.reshape(-1)[0])
    count = encoding.scale.numel()
    each = f" x {count}" if count > 1 else f" offset {int(encoding.offset.reshape(-1)[0])}"
    return f"{encoding.grid} scale {first:.6g}{each}"


def describe(lowered: TensorInfo) -> str:
    """A lowered tensor's type and encoding in a few words."""
    if lowered.quant is None or not lowered.quant.scales:
        return lowered.dtype
    count = len(lowered.quant.scales)
    each = f" x {count}" if count > 1 else f" offset {lowered.quant.offsets[0]}"
    return f"{lowered.dtype} scale {lowered.quant.scales[0]:.6g}{each}"
