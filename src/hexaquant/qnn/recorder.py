"""A stand-in for a backend that only writes down what it is asked to build.

The system library composes the graphs of a DLC by calling ``graphCreate``, ``tensorCreateGraphTensor`` and
``graphAddNode`` of whatever interface it is given. Given this one, it tells us every tensor, encoding and
operator of the DLC without any undocumented reader. Used in child processes only.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_uint64, c_void_p

from hexaquant.qnn.abi import INTERFACE_FUNCTIONS, OpConfig, Tensor, interface_type
from hexaquant.qnn.describe import describe_op, describe_tensor
from hexaquant.qnn.records import GraphRecord, OpInfo, TensorInfo

_CreateGraph = CFUNCTYPE(c_uint64, c_void_p, c_char_p, c_void_p, POINTER(c_void_p))
_CreateTensor = CFUNCTYPE(c_uint64, c_void_p, POINTER(Tensor))
_AddNode = CFUNCTYPE(c_uint64, c_void_p, OpConfig)
_Accept = CFUNCTYPE(c_uint64)
_NOT_SUPPORTED = 1000
"""Answer to ``propertyHasCapability``: with 0 ("supported") the system library expects a newer kind of tensor."""


class Recorder:
    """Records the graphs composed through :attr:`interface`."""

    def __init__(self, function_count: int) -> None:
        self._names: list[str] = []
        self._tensors: list[list[TensorInfo]] = []
        self._ops: list[list[OpInfo]] = []
        self._count = 0
        self._refuse = _Accept(lambda: _NOT_SUPPORTED)
        self._callbacks = {
            "propertyHasCapability": self._refuse,
            "graphCreate": _CreateGraph(self._create_graph),
            "tensorCreateGraphTensor": _CreateTensor(self._create_tensor),
            "graphAddNode": _AddNode(self._add_node),
        }
        self._accept = _Accept(lambda: 0)
        self.interface = interface_type(function_count)()
        for index in range(function_count):
            self.interface.functions[index] = ctypes.cast(self._accept, c_void_p)
        for name, callback in self._callbacks.items():
            self.interface.functions[INTERFACE_FUNCTIONS.index(name)] = ctypes.cast(callback, c_void_p)

    def _create_graph(self, _context: int, name: bytes, _configs: int, out: ctypes.Array) -> int:
        self._names.append(name.decode())
        self._tensors.append([])
        self._ops.append([])
        out[0] = len(self._names)  # the handle: a counter, never dereferenced
        return 0

    def _create_tensor(self, graph: int, tensor: ctypes.Array) -> int:
        self._count += 1
        tensor[0].body.id = self._count
        self._tensors[graph - 1].append(describe_tensor(tensor[0]))
        return 0

    def _add_node(self, graph: int, op: OpConfig) -> int:
        self._ops[graph - 1].append(describe_op(op))
        return 0

    def graphs(self) -> list[GraphRecord]:
        """Everything recorded so far."""
        return [
            GraphRecord(
                name,
                tuple(t for t in tensors if t.kind == "input"),
                tuple(t for t in tensors if t.kind == "output"),
                tuple(tensors),
                tuple(ops),
            )
            for name, tensors, ops in zip(self._names, self._tensors, self._ops)
        ]
