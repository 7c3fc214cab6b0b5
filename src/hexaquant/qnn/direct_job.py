"""The direct compile job, run in a child: the execution provider compiles a QDQ ONNX without a DLC in between."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hexaquant.qnn.lower_job import open_session
from hexaquant.qnn.refusal import Refusal


def compile_direct(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: onnx, folder, bin, soc_model, arch, provider, htp, o_level, vtcm_mb. Writes ``bin``."""
    options = {
        "backend_path": spec["htp"],
        "soc_model": str(spec["soc_model"]),
        "htp_arch": str(spec["arch"]),
        "htp_graph_finalization_optimization_mode": str(spec["o_level"]),
        "offload_graph_io_quantization": "0",
    }
    if spec["vtcm_mb"] is not None:
        options["vtcm_mb"] = str(spec["vtcm_mb"])
    entries = {
        "ep.context_enable": "1",
        "ep.context_file_path": str(Path(spec["folder"]) / "context.onnx"),
        "ep.context_embed_mode": "0",
    }
    open_session(spec, options, entries)
    found = sorted(Path(spec["folder"]).glob("*.bin"))
    if len(found) != 1:
        raise Refusal("target", f"the provider split the network into {len(found)} parts instead of one")
    shutil.move(found[0], spec["bin"])
    return {}
