"""The lowering job, run in a child: onnxruntime's QNN execution provider writes the DLC of a QDQ ONNX."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from hexaquant.qnn.refusal import Refusal


def lower(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: onnx, folder, soc_model, arch, provider, htp, ir, skip_validation. The DLC lands in ``folder``.

    The provider's graph optimizations are off: they would fold or duplicate quantize nodes that carry our
    encodings. Falling back to the CPU is off: a DLC holds the whole network or none.
    """
    open_session(spec, _provider_options(spec), {})
    found = sorted(Path(spec["folder"]).glob("*.dlc"))
    if len(found) != 1:
        raise Refusal("target", f"the provider split the network into {len(found)} parts instead of one")
    return {"dlc": str(found[0])}


def prepare() -> None:
    """Import onnxruntime, the slowest part of the job's start."""
    importlib.import_module("onnxruntime")


def open_session(spec: dict[str, Any], provider_options: dict[str, str], entries: dict[str, str]) -> None:
    """Let onnxruntime load ``spec["onnx"]`` with the QNN provider, which writes its files as it does so."""
    import onnxruntime as ort

    if not any(d.ep_name == "QNNExecutionProvider" for d in ort.get_ep_devices()):
        ort.register_execution_provider_library("QNNExecutionProvider", spec["provider"])
    devices = [d for d in ort.get_ep_devices() if d.ep_name == "QNNExecutionProvider"][:1]
    options = ort.SessionOptions()
    options.log_severity_level = spec.get("log_severity", 2)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    for key, value in {"session.disable_cpu_ep_fallback": "1", **entries}.items():
        options.add_session_config_entry(key, value)
    options.add_provider_for_devices(devices, provider_options)
    try:
        ort.InferenceSession(spec["onnx"], sess_options=options)
    except Exception as error:
        raise _refusal(error) from error


def _provider_options(spec: dict[str, Any]) -> dict[str, str]:
    options = {
        "backend_path": spec["htp"],
        "soc_model": str(spec["soc_model"]),
        "htp_arch": str(spec["arch"]),
        "dump_qnn_ir_dlc": "1",
        "dump_qnn_ir_dlc_dir": spec["folder"],
        "qnn_ir_backend_path": spec["ir"],
        "offload_graph_io_quantization": "0",
    }
    if spec.get("skip_validation"):
        options["skip_backend_op_validation"] = "1"
    return options


def _refusal(error: Exception) -> Refusal:
    text = str(error)
    if "assigned to the default CPU EP" in text or "not selected by that EP" in text or "inserted using" in text:
        return Refusal("target", text, unsupported=True)
    if "INVALID_GRAPH" in text or "INVALID_PROTOBUF" in text or "Load model" in text or "NO_SUCHFILE" in text:
        return Refusal("input", text)
    return Refusal("target", text)
