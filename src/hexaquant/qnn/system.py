"""The QNN system library: reads context binaries and DLC files. Used in child processes only."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

from hexaquant.qnn.abi import (
    SYSTEM_FUNCTIONS,
    BinaryDescription,
    ConfigEntry,
    GraphConfigInfo,
    GraphInfo,
    Handle,
    SystemInterface,
)
from hexaquant.qnn.backend import Log, QnnError


class System:
    """One loaded system library."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.QnnSystemInterface_getProviders.restype = c_uint64
        providers = POINTER(POINTER(SystemInterface))()
        count = c_uint32()
        if self._library.QnnSystemInterface_getProviders(byref(providers), byref(count)) or not count.value:
            raise QnnError("QnnSystemInterface_getProviders", -1, [f"{library.name} offers no interface"])
        self._interface = providers[0].contents
        self._keep: list[object] = []
        self.log, self._log_handle = Log(), Handle()
        self._call("logCreate", self.log.callback, c_uint32(self.log.level), byref(self._log_handle))

    def _pointer(self, function: str) -> int:
        return self._interface.functions[SYSTEM_FUNCTIONS.index(function)]

    def _call(self, function: str, *arguments: object) -> None:
        code = CFUNCTYPE(c_uint64)(self._pointer(function))(*arguments)
        if code:
            raise QnnError(function, code & 0xFFFF, self.log.errors())

    def describe_binary(self, binary: np.ndarray) -> BinaryDescription:
        """The metadata of a context binary (uint8); it points into memory that lives as long as this object."""
        handle = Handle()
        description = POINTER(BinaryDescription)()
        self._call("contextCreate", byref(handle))
        data = c_void_p(binary.ctypes.data)
        size = c_uint64(binary.size)
        self._call("contextGetMetaData", handle, data, size, byref(description))
        self._keep += [handle, binary]
        found = description.contents
        if found.version != 3:
            raise QnnError("contextGetMetaData", -1, [f"description version {found.version} is unknown"])
        return found

    def open_dlc(self, path: Path) -> Handle:
        handle = Handle()
        self._call("dlcCreateFromFile", self._log_handle, str(path).encode(), byref(handle))
        return handle

    def compose(
        self,
        dlc: Handle,
        interface: ctypes.Structure,
        backend: Handle | None,
        context: Handle | None,
        configs: Mapping[str, Sequence[ConfigEntry]] | None = None,
    ) -> list[GraphInfo]:
        """Build the graphs of ``dlc`` by calling the functions of ``interface``; configs by graph name."""
        graphs = POINTER(GraphInfo)()
        count = c_uint32()
        compose = CFUNCTYPE(
            c_uint64, c_void_p, c_void_p, c_uint32, c_void_p, c_void_p, type(interface), c_int, c_void_p, c_void_p
        )(self._pointer("dlcComposeGraphs"))
        infos = self._config_infos(configs or {})
        code = compose(
            dlc,
            ctypes.cast(infos, c_void_p) if configs else None,
            len(configs or {}),
            backend,
            context,
            interface,
            1,
            ctypes.cast(byref(graphs), c_void_p),
            ctypes.cast(byref(count), c_void_p),
        )
        if code or not count.value:
            raise QnnError("dlcComposeGraphs", code & 0xFFFF, self.log.errors())
        return [graphs[i] for i in range(count.value)]

    def _config_infos(self, configs: Mapping[str, Sequence[ConfigEntry]]) -> ctypes.Array:
        infos = []
        for name, entries in configs.items():
            pointers = (POINTER(ConfigEntry) * (len(entries) + 1))(*[ctypes.pointer(entry) for entry in entries])
            infos.append(GraphConfigInfo(1, c_char_p(name.encode()), ctypes.cast(pointers, c_void_p), len(entries)))
            self._keep.append(pointers)
        array = (POINTER(GraphConfigInfo) * max(len(infos), 1))(*[ctypes.pointer(info) for info in infos])
        self._keep += [infos, array]
        return array
