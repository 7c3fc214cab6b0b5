"""What is known about a DLC or a context binary, as plain values that go through JSON and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class QuantInfo:
    """Encoding of a tensor as QNN holds it: x = (q + offset) * scale; one entry, or one per index along ``axis``.

    ``bits`` is the width where it differs from the storage type (4-bit weights in int8 containers).
    ``block_scales``: LPBQ only, row-major (channels, blocks).
    """

    kind: str
    scales: tuple[float, ...]
    offsets: tuple[int, ...]
    axis: int | None = None
    bits: int | None = None
    block_scales: tuple[int, ...] | None = None


@dataclass(frozen=True)
class TensorInfo:
    """``dtype``: numpy-like name ("uint8", "float16"); ``kind``: input, output, native (between ops), static, ..."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str
    quant: QuantInfo | None = None

    @staticmethod
    def from_json(data: dict[str, Any]) -> TensorInfo:
        quant = data.get("quant")
        if quant is not None:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in quant.items()}
            quant = QuantInfo(**values)
        return TensorInfo(data["name"], data["dtype"], tuple(data["shape"]), data["kind"], quant)


@dataclass(frozen=True)
class OpInfo:
    """An operator of a lowered graph; ``params`` holds its scalar and small tensor parameters."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphRecord:
    """One graph. Context binaries tell only inputs and outputs; DLCs also every tensor and operator."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: tuple[TensorInfo, ...] = ()
    ops: tuple[OpInfo, ...] = ()

    @staticmethod
    def from_json(data: dict[str, Any]) -> GraphRecord:
        def tensors(key: str) -> tuple[TensorInfo, ...]:
            return tuple(TensorInfo.from_json(t) for t in data.get(key, ()))

        ops = tuple(
            OpInfo(o["name"], o["type"], tuple(o["inputs"]), tuple(o["outputs"]), o.get("params", {}))
            for o in data.get("ops", ())
        )
        return GraphRecord(data["name"], tensors("inputs"), tensors("outputs"), tensors("tensors"), ops)


@dataclass(frozen=True)
class DlcInfo:
    """Content of a DLC. ``records``: its zip members with sizes (caches of compiled SoCs are named htp.cache.*)."""

    graphs: tuple[GraphRecord, ...]
    records: dict[str, int]

    @staticmethod
    def from_json(data: dict[str, Any]) -> DlcInfo:
        return DlcInfo(tuple(GraphRecord.from_json(g) for g in data["graphs"]), dict(data["records"]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class BinaryInfo:
    """Metadata of a context binary. ``soc_model``: Qualcomm's number of the SoC it was compiled for."""

    build_id: str
    core_version: str
    backend_version: str
    soc_model: int
    size: int
    graphs: tuple[GraphRecord, ...]

    @staticmethod
    def from_json(data: dict[str, Any]) -> BinaryInfo:
        rest = {k: v for k, v in data.items() if k != "graphs"}
        return BinaryInfo(**rest, graphs=tuple(GraphRecord.from_json(g) for g in data["graphs"]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
