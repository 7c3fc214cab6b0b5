"""A QNN backend (the Hexagon emulator or NPU) through its C interface. Used in child processes only."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hexaquant.qnn.abi import INTERFACE_FUNCTIONS, ConfigEntry, EventData, Handle, LogCallback, Tensor, interface_type
from hexaquant.qnn.libraries import AbiRow
from hexaquant.qnn.profile import CODES, UNITS, Event


class QnnError(RuntimeError):
    """A function of the library reported a failure; ``code`` is its number without the error class."""

    def __init__(self, function: str, code: int, reasons: Sequence[str]) -> None:
        self.function, self.code, self.reasons = function, code, list(reasons)
        super().__init__(f"{function} failed with {code}: {' | '.join(reasons) or 'no reason given'}")


@dataclass(frozen=True)
class GraphOptions:
    """``o_level`` 1..3: effort of graph finalization. ``vtcm_mb``: tightly coupled memory, None = all of the SoC."""

    o_level: int = 3
    vtcm_mb: int | None = None


class Log:
    """Collects the library's messages of at least ``level`` (1 error, 2 warning, 3 info, 4 verbose, 5 debug)."""

    def __init__(self, level: int = 1) -> None:
        self.level = level
        self.messages: list[tuple[int, str]] = []
        libc = ctypes.CDLL(None)
        libc.vsnprintf.argtypes = [c_char_p, ctypes.c_size_t, c_char_p, c_void_p]
        self._vsnprintf = libc.vsnprintf
        self.callback = LogCallback(self._receive)

    def _receive(self, template: bytes, level: int, _time: int, arguments: int) -> None:
        buffer = ctypes.create_string_buffer(2048)
        self._vsnprintf(buffer, 2048, template, arguments)
        self.messages.append((level, buffer.value.decode(errors="replace").strip()))

    def errors(self, last: int = 8) -> list[str]:
        """The latest error messages, oldest first, without repetitions."""
        return list(dict.fromkeys(text for level, text in self.messages if level == 1))[-last:]


class Backend:
    """One loaded backend library with a log, a device and the means to make contexts."""

    def __init__(self, library: Path, abi: AbiRow, log_level: int = 1) -> None:
        self.log = Log(log_level)
        self.abi = abi
        self._library = ctypes.CDLL(str(library))
        self.interface_type = interface_type(abi.function_count)
        self.interface = self._interface(library)
        self._keep: list[object] = []
        self._log_handle = Handle()
        self.call("logCreate", self.log.callback, c_uint32(log_level), byref(self._log_handle))
        self.handle = Handle()
        self.call("backendCreate", self._log_handle, None, byref(self.handle))

    def _interface(self, library: Path) -> ctypes.Structure:
        providers = POINTER(POINTER(self.interface_type))()
        count = c_uint32()
        self._library.QnnInterface_getProviders.restype = c_uint64
        if self._library.QnnInterface_getProviders(byref(providers), byref(count)) or not count.value:
            raise QnnError("QnnInterface_getProviders", -1, [f"{library.name} offers no interface"])
        interface = providers[0].contents
        if interface.core_version.minor != self.abi.core_minor:
            reason = f"{library.name} has core API {interface.core_version}, expected 2.{self.abi.core_minor}"
            raise QnnError("QnnInterface_getProviders", -1, [reason])
        return interface

    def call(self, function: str, *arguments: object) -> None:
        """Call ``function`` of the interface; arguments are ctypes values. Raises QnnError."""
        pointer = self.interface.functions[INTERFACE_FUNCTIONS.index(function)]
        if not pointer:
            raise QnnError(function, -1, ["not offered by this backend"])
        code = CFUNCTYPE(c_uint64)(pointer)(*arguments)
        if code:
            raise QnnError(function, code & 0xFFFF, self.log.errors() or [self._message(code)])

    def _message(self, code: int) -> str:
        pointer = self.interface.functions[INTERFACE_FUNCTIONS.index("errorGetMessage")]
        text = c_char_p()
        if not pointer or CFUNCTYPE(c_uint64)(pointer)(c_uint64(code), byref(text)):
            return ""
        return (text.value or b"").decode(errors="replace")

    def device(self, soc_model: int | None = None, arch: int | None = None) -> Handle:
        """A device for the SoC; neither given: the one the library finds (the NPU it runs on)."""
        entries = []
        if soc_model:
            entries.append(self._custom(self._device_record(0, soc_model, 0)))
        if arch:
            entries.append(self._custom(self._device_record(1, 0, arch)))
        device = Handle()
        self.call("deviceCreate", self._log_handle, self._list(entries) if entries else None, byref(device))
        return device

    def _device_record(self, option: int, first: int, second: int) -> bytes:
        head = struct.pack("<I", option).ljust(self.abi.htp_device_offset, b"\0")
        return head + struct.pack("<II", first, second)

    def graph_configs(self, options: GraphOptions) -> list[ConfigEntry]:
        """HTP graph configuration: float16 for float tensors, optimization level, VTCM."""
        records = [struct.pack("<IIII", 2, 0, 1, 0), struct.pack("<IIIf", 1, 0, 3, float(options.o_level))]
        if options.vtcm_mb is not None:
            records.append(struct.pack("<III", 3, 0, options.vtcm_mb))
        return [self._custom(record.ljust(64, b"\0")) for record in records]

    def _custom(self, record: bytes) -> ConfigEntry:
        buffer = ctypes.create_string_buffer(record, len(record))
        entry = ConfigEntry(0, ctypes.cast(buffer, c_void_p))
        self._keep += [buffer, entry]
        return entry

    def _list(self, entries: Sequence[ConfigEntry]) -> ctypes.Array:
        array = (POINTER(ConfigEntry) * (len(entries) + 1))(*[ctypes.pointer(entry) for entry in entries])
        self._keep.append(array)
        return array

    def new_context(self, device: Handle, share_weights: bool = False) -> Handle:
        """``share_weights``: graphs that are finalized in it keep one copy of equal weights (HTP context option 1)."""
        context = Handle()
        entries = [self._custom(struct.pack("<IIII", 1, 0, 1, 0).ljust(64, b"\0"))] if share_weights else []
        self.call("contextCreate", self.handle, device, self._list(entries) if entries else None, byref(context))
        return context

    def load_context(self, device: Handle, binary: np.ndarray, profile: Handle | None = None) -> Handle:
        """A context from the bytes of a context binary (uint8; must stay alive as long as the context)."""
        context = Handle()
        size = c_uint64(binary.size)
        data = c_void_p(binary.ctypes.data)
        self.call("contextCreateFromBinary", self.handle, device, None, data, size, byref(context), profile)
        return context

    def graph(self, context: Handle, name: str) -> Handle:
        graph = Handle()
        self.call("graphRetrieve", context, name.encode(), byref(graph))
        return graph

    def finalize(self, graph: Handle, profile: Handle | None = None) -> None:
        self.call("graphFinalize", graph, profile, None)

    def new_profile(self, level: str | None) -> Handle | None:
        """A profile of ``level``, which each call that gets it fills anew; None where nothing is to be measured."""
        if level not in CODES:
            return None
        profile = Handle()
        self.call("profileCreate", self.handle, c_uint32(CODES[level]), byref(profile))
        return profile

    def events(self, profile: Handle | None) -> tuple[Event, ...]:
        """What the latest call with ``profile`` left in it."""
        return () if profile is None else self._events("profileGetEvents", profile)

    def _events(self, function: str, parent: object) -> tuple[Event, ...]:
        found = POINTER(c_uint64)()
        count = c_uint32()
        self.call(function, parent, byref(found), byref(count))
        return tuple(self._event(found[i]) for i in range(count.value))

    def _event(self, number: int) -> Event:
        data = EventData()
        self.call("profileGetEventData", c_uint64(number), byref(data))
        name = (data.identifier or b"").decode(errors="replace").strip()
        unit = UNITS.get(data.unit, "")
        return Event(data.type, unit, data.value, name, self._events("profileGetSubEvents", c_uint64(number)))

    def binary(self, context: Handle) -> bytes:
        """The context binary of ``context``."""
        size = c_uint64()
        written = c_uint64()
        self.call("contextGetBinarySize", context, byref(size))
        data = np.empty(size.value, np.uint8)
        self.call("contextGetBinary", context, c_void_p(data.ctypes.data), size, byref(written))
        return data[: written.value].tobytes()

    def execute(
        self, graph: Handle, inputs: Sequence[Tensor], outputs: Sequence[Tensor], profile: Handle | None = None
    ) -> None:
        """Run ``graph``; the tensors carry their client buffers."""
        ins = (Tensor * len(inputs))(*inputs)
        outs = (Tensor * len(outputs))(*outputs)
        self.call("graphExecute", graph, ins, c_uint32(len(inputs)), outs, c_uint32(len(outputs)), profile, None)
