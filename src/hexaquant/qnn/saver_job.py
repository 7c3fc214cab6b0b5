"""The recording job, run in a child: Qualcomm's saver backend writes the calls that build a graph as C source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hexaquant.qnn.lower_job import open_session
from hexaquant.qnn.refusal import Refusal

SOURCE = "saver_output.c"
PARAMETERS = "params.bin"


def record_source(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: onnx, folder, soc_model, arch, provider, htp, saver. The files land in ``folder``/saver_output.

    The library writes into the working folder, whatever it is, and flushes its files only as it is unloaded.
    """
    os.chdir(spec["folder"])
    options = {
        "backend_path": spec["htp"],
        "qnn_saver_path": spec["saver"],
        "soc_model": str(spec["soc_model"]),
        "htp_arch": str(spec["arch"]),
        "offload_graph_io_quantization": "0",
    }
    open_session(spec, options, {})
    found = Path(spec["folder"]) / "saver_output"
    for name in (SOURCE, PARAMETERS):
        if not (found / name).is_file():
            raise Refusal("target", f"the saver library wrote no {name}")
    return {"source": str(found / SOURCE), "parameters": str(found / PARAMETERS)}
