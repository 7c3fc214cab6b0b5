"""The interface of a backend with two hooks: it renames the graph and remembers what was refused, and why.

Used in child processes only, between the system library that composes a DLC and the backend that builds it.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, c_char_p, c_uint64, c_void_p
from dataclasses import dataclass

from hexaquant.qnn.abi import INTERFACE_FUNCTIONS, OpConfig
from hexaquant.qnn.backend import Backend
from hexaquant.qnn.describe import describe_op, describe_tensor

_NOISE = (
    "Supported I/O datatype sets",
    "Op Definition Supplement",
    "validateOpConfig failed",
    "Failed to validate op",
    "GraphHtpSettings",
)
_CreateGraph = CFUNCTYPE(c_uint64, c_void_p, c_char_p, c_void_p, c_void_p)
_ForOp = CFUNCTYPE(c_uint64, c_void_p, OpConfig)


@dataclass(frozen=True)
class RefusedOp:
    """An operator that the backend did not accept. ``signature``: "ufixed8, sfixed8 -> float32"."""

    name: str
    type: str
    signature: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        why = "; ".join(self.reasons) or "no reason given"
        return f"operator '{self.name}' ({self.type}: {self.signature}): {why}"


class HookedInterface:
    """``interface`` behaves like ``backend.interface``; ``refused`` fills while it is used."""

    def __init__(self, backend: Backend, graph_name: str | None) -> None:
        self.refused: list[RefusedOp] = []
        self._backend = backend
        self._graph_name = graph_name
        self.interface = backend.interface_type()
        ctypes.memmove(
            ctypes.byref(self.interface), ctypes.byref(backend.interface), ctypes.sizeof(backend.interface_type)
        )
        self._keep = [
            self._hook("graphCreate", _CreateGraph, self._create_graph),
            self._hook("backendValidateOpConfig", _ForOp, self._validate),
            self._hook("graphAddNode", _ForOp, self._add_node),
        ]

    def _hook(self, function: str, prototype: type, method: object) -> tuple[object, object]:
        index = INTERFACE_FUNCTIONS.index(function)
        original = prototype(self.interface.functions[index])
        setattr(self, f"_original_{function}", original)
        callback = prototype(method)
        self.interface.functions[index] = ctypes.cast(callback, c_void_p)
        return original, callback

    def _create_graph(self, context: int, name: bytes, configs: int, out: int) -> int:
        chosen = name if self._graph_name is None else self._graph_name.encode()
        return self._original_graphCreate(context, chosen, configs, out)  # type: ignore[attr-defined]

    def _validate(self, backend: int, op: OpConfig) -> int:
        code = self._original_backendValidateOpConfig(backend, op)  # type: ignore[attr-defined]
        return self._note(code, op)

    def _add_node(self, graph: int, op: OpConfig) -> int:
        return self._note(self._original_graphAddNode(graph, op), op)  # type: ignore[attr-defined]

    def _note(self, code: int, op: OpConfig) -> int:
        if code:
            info = describe_op(op)
            body = op.body
            ins = ", ".join(describe_tensor(body.inputs[i]).dtype for i in range(body.input_count))
            outs = ", ".join(describe_tensor(body.outputs[i]).dtype for i in range(body.output_count))
            reasons = tuple(short_reasons(self._backend.log.errors()))
            self.refused.append(RefusedOp(info.name, info.type, f"{ins} -> {outs}", reasons))
        return code


def short_reasons(messages: list[str]) -> list[str]:
    """First lines of the library's messages without its marks; long tables of accepted types are left out."""
    kept = []
    for message in messages:
        line = message.replace("<E>", "").replace("<W>", "").strip().splitlines()
        if line and not any(noise in line[0] for noise in _NOISE):
            kept.append(line[0][:200])
    return kept[-3:]
