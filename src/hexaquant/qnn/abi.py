"""The structures of the public QNN C interface that this package reads or fills, as ctypes declarations.

Layouts are those of core API 2.40 (libraries.KNOWN_RELEASES); sizes are asserted at import of this module,
which happens only in child processes. Structures that exist in several versions start with ``version``.
"""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    Union,
    c_char_p,
    c_float,
    c_int32,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)

Handle = c_void_p
UNDEFINED = 0x7FFFFFFF


class Version(Structure):
    _fields_ = (("major", c_uint32), ("minor", c_uint32), ("patch", c_uint32))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class ScaleOffset(Structure):
    """x = (q + offset) * scale."""

    _fields_ = (("scale", c_float), ("offset", c_int32))


class AxisScaleOffset(Structure):
    _fields_ = (("axis", c_int32), ("count", c_uint32), ("items", POINTER(ScaleOffset)))


class BitwidthScaleOffset(Structure):
    _fields_ = (("bitwidth", c_uint32), ("scale", c_float), ("offset", c_int32))


class BitwidthAxisScaleOffset(Structure):
    _fields_ = (
        ("bitwidth", c_uint32),
        ("axis", c_int32),
        ("count", c_uint32),
        ("scales", POINTER(c_float)),
        ("offsets", POINTER(c_int32)),
    )


class BlockEncoding(Structure):
    _fields_ = (("block_size", POINTER(c_uint32)), ("items", POINTER(ScaleOffset)))


class BlockwiseExpansion(Structure):
    """LPBQ: an integer scale per block times a float scale per channel."""

    _fields_ = (
        ("axis", c_int32),
        ("items", POINTER(ScaleOffset)),
        ("blocks_per_axis", c_uint32),
        ("block_scale_bitwidth", c_uint32),
        ("block_scale_storage", c_uint32),
        ("block_scales", c_void_p),
    )


class QuantizeUnion(Union):
    _fields_ = (
        ("per_tensor", ScaleOffset),
        ("per_axis", AxisScaleOffset),
        ("bitwidth_per_tensor", BitwidthScaleOffset),
        ("bitwidth_per_axis", BitwidthAxisScaleOffset),
        ("per_block", BlockEncoding),
        ("expansion", POINTER(BlockwiseExpansion)),
        ("pointer", c_void_p),
    )


class QuantizeParams(Structure):
    """``defined`` is 1 when ``encoding`` (an index into describe.ENCODING_NAMES) applies."""

    _fields_ = (("defined", c_uint32), ("encoding", c_uint32), ("values", QuantizeUnion))


class ClientBuffer(Structure):
    _fields_ = (("data", c_void_p), ("size", c_uint32))


class BufferUnion(Union):
    _fields_ = (("client", ClientBuffer), ("memory_handle", c_void_p))


class SparseParams(Structure):
    _fields_ = (("type", c_uint32), ("specified", c_uint32), ("ordering", c_uint32))


class TensorBody(Structure):
    _fields_ = (
        ("id", c_uint32),
        ("name", c_char_p),
        ("type", c_uint32),
        ("data_format", c_uint32),
        ("data_type", c_uint32),
        ("quantize", QuantizeParams),
        ("rank", c_uint32),
        ("dimensions", POINTER(c_uint32)),
        ("memory_type", c_uint32),
        ("buffer", BufferUnion),
        ("is_dynamic", c_void_p),
        ("sparse", SparseParams),
        ("is_produced", c_uint8),
    )


class Tensor(Structure):
    _fields_ = (("version", c_uint32), ("body", TensorBody))


class ScalarUnion(Union):
    _fields_ = (
        ("float32", c_float),
        ("uint64", c_uint64),
        ("uint32", c_uint32),
        ("int32", c_int32),
        ("uint8", c_uint8),
        ("string", c_char_p),
    )


class Scalar(Structure):
    _fields_ = (("data_type", c_uint32), ("value", ScalarUnion))


class ParamUnion(Union):
    _fields_ = (("scalar", Scalar), ("tensor", Tensor))


class Param(Structure):
    """``type`` 0: scalar, 1: tensor."""

    _fields_ = (("type", c_uint32), ("name", c_char_p), ("value", ParamUnion))


class OpBody(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("package", c_char_p),
        ("type", c_char_p),
        ("param_count", c_uint32),
        ("params", POINTER(Param)),
        ("input_count", c_uint32),
        ("inputs", POINTER(Tensor)),
        ("output_count", c_uint32),
        ("outputs", POINTER(Tensor)),
    )


class OpConfig(Structure):
    _fields_ = (("version", c_uint32), ("body", OpBody))


class GraphBody(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("input_count", c_uint32),
        ("inputs", POINTER(Tensor)),
        ("output_count", c_uint32),
        ("outputs", POINTER(Tensor)),
        ("updateable_count", c_uint32),
        ("updateable", POINTER(Tensor)),
        ("blob_size", c_uint32),
        ("blob", c_void_p),
        ("start_op", c_uint32),
        ("end_op", c_uint32),
    )


class GraphInfo(Structure):
    _fields_ = (("version", c_uint32), ("body", GraphBody))


_BINARY_HEAD = (
    ("backend_id", c_uint32),
    ("build_id", c_char_p),
    ("core_version", Version),
    ("backend_version", Version),
    ("soc_version", c_char_p),
)
_BINARY_GRAPHS = (
    ("context_tensor_count", c_uint32),
    ("context_tensors", POINTER(Tensor)),
    ("graph_count", c_uint32),
    ("graphs", POINTER(GraphInfo)),
    ("platform", c_void_p),
)


class BinaryBody3(Structure):
    """Version 3 of the description of a context binary, the one that release 2.7.0 writes."""

    _fields_ = (
        *_BINARY_HEAD,
        ("blob_version", Version),
        ("blob_size", c_uint64),
        *_BINARY_GRAPHS,
        ("metadata_size", c_uint32),
        ("metadata", c_void_p),
        ("soc_model", c_uint32),
    )


class BinaryDescription(Structure):
    _fields_ = (("version", c_uint32), ("body", BinaryBody3))


class ConfigEntry(Structure):
    """Entry of a null-terminated config list; option 0 = custom (backend specific)."""

    _fields_ = (("option", c_uint32), ("custom", c_void_p))


class GraphConfigInfo(Structure):
    _fields_ = (("version", c_uint32), ("name", c_char_p), ("configs", c_void_p), ("count", c_uint32))


class EventData(Structure):
    """One figure of a profile."""

    _fields_ = (("type", c_uint32), ("unit", c_uint32), ("value", c_uint64), ("identifier", c_char_p))


LogCallback = CFUNCTYPE(None, c_char_p, c_uint32, c_uint64, c_void_p)
"""(printf format, level 1 = error .. 5 = debug, time stamp, va_list)."""
_EXPECTED_SIZES = {
    Tensor: 144,
    Param: 160,
    OpConfig: 80,
    QuantizeParams: 40,
    GraphInfo: 88,
    BinaryDescription: 144,
    EventData: 24,
}
for _structure, _size in _EXPECTED_SIZES.items():
    if sizeof(_structure) != _size:
        raise ImportError(f"{_structure.__name__} takes {sizeof(_structure)} bytes here, not {_size}")


# Order of the function pointers in the tables that QNN libraries hand out. Tables only grow at their end.

# fmt: off
INTERFACE_FUNCTIONS = (
    "propertyHasCapability", "backendCreate", "backendSetConfig", "backendGetApiVersion", "backendGetBuildId",
    "backendRegisterOpPackage", "backendGetSupportedOperations", "backendValidateOpConfig", "backendFree",
    "contextCreate", "contextSetConfig", "contextGetBinarySize", "contextGetBinary", "contextCreateFromBinary",
    "contextFree", "graphCreate", "graphCreateSubgraph", "graphSetConfig", "graphAddNode", "graphFinalize",
    "graphRetrieve", "graphExecute", "graphExecuteAsync", "tensorCreateContextTensor", "tensorCreateGraphTensor",
    "logCreate", "logSetLogLevel", "logFree", "profileCreate", "profileSetConfig", "profileGetEvents",
    "profileGetSubEvents", "profileGetEventData", "profileGetExtendedEventData", "profileFree", "memRegister",
    "memDeRegister", "deviceGetPlatformInfo", "deviceFreePlatformInfo", "deviceGetInfrastructure", "deviceCreate",
    "deviceSetConfig", "deviceGetInfo", "deviceFree", "signalCreate", "signalSetConfig", "signalTrigger",
    "signalFree", "errorGetMessage", "errorGetVerboseMessage", "errorFreeVerboseMessage",
)
"""``QnnInterface_t``, the part that every release so far shares and that is used here."""
# fmt: off
SYSTEM_FUNCTIONS = (
    "contextCreate", "contextGetBinaryInfo", "contextGetMetaData", "contextFree", "tensorGetMemoryFootprint",
    "logCreate", "logSetLogLevel", "logFree", "dlcCreateFromFile", "dlcCreateFromBinary", "dlcComposeGraphs",
    "dlcGetOpMappings", "dlcFree",
)
"""``QnnSystemInterface_t``, its beginning."""


def interface_type(function_count: int) -> type[Structure]:
    """The structure ``QnnInterface_t`` with ``function_count`` pointers (it is passed by value)."""
    fields = (
        ("backend_id", c_uint32),
        ("provider", c_char_p),
        ("core_version", Version),
        ("backend_version", Version),
        ("functions", c_void_p * function_count),
    )
    return type("Interface", (Structure,), {"_fields_": fields})


class SystemInterface(Structure):
    _fields_ = (
        ("backend_id", c_uint32),
        ("provider", c_char_p),
        ("version", Version),
        ("functions", c_void_p * len(SYSTEM_FUNCTIONS)),
    )
