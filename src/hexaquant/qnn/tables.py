"""Order of the function pointers in the tables that QNN libraries hand out. Tables only grow at their end."""

from __future__ import annotations

from ctypes import Structure, c_char_p, c_uint32, c_void_p

from hexaquant.qnn.abi import Version

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
# fmt: on
"""``QnnInterface_t``, the part that every release so far shares and that is used here."""

# fmt: off
SYSTEM_FUNCTIONS = (
    "contextCreate", "contextGetBinaryInfo", "contextGetMetaData", "contextFree", "tensorGetMemoryFootprint",
    "logCreate", "logSetLogLevel", "logFree", "dlcCreateFromFile", "dlcCreateFromBinary", "dlcComposeGraphs",
    "dlcGetOpMappings", "dlcFree",
)
# fmt: on
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
