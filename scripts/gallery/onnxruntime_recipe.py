"""The peer: onnxruntime's own QNN recipe on one network, in a process of its own (``python -m ... SPEC.json``).

qnn_preprocess_model, get_qnn_qdq_config (uint8 activations and weights, as documented), quantize, then a session of the
QNN provider on the emulator without CPU fallback, for soc_model 57. Writes JSON: dB of each output, FP32 to target.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

from hexaquant.core.metrics import Sqnr
from hexaquant.qnn.libraries import find_libraries

SOC = {"soc_model": "57", "htp_arch": "75"}


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The calibration samples, one a run."""

    def __init__(self, samples: Sequence[dict[str, np.ndarray]]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._samples, None)


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``: file, folder, shapes, calibration and test (.npz of (N, *shape)), stage: where it stands is written."""
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    fixed = folder / "fixed.onnx"
    model = onnx.load(spec["file"])
    _fix_shapes(model, spec["shapes"])
    onnx.save(model, fixed)
    calibration, test = (_samples(Path(spec[key])) for key in ("calibration", "test"))
    _stage("preprocess")
    ready = folder / "preprocessed.onnx"
    path = ready if qnn_preprocess_model(str(fixed), str(ready)) else fixed
    _stage("quantize")
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8}
    config = get_qnn_qdq_config(str(path), Reader(calibration), **types)
    quantize(str(path), str(folder / "qdq.onnx"), config)
    _stage("session")
    target = _target_session(str(folder / "qdq.onnx"))
    _stage("run")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = ort.InferenceSession(str(fixed), options, providers=["CPUExecutionProvider"])
    meters = {output.name: Sqnr() for output in reference.get_outputs()}
    for sample in test:
        for meter, wanted, got in zip(
            meters.values(), reference.run(None, sample), target.run(None, sample), strict=True
        ):
            meter.add(wanted, got)
    return {name: round(meter.db, 2) for name, meter in meters.items()}


def _fix_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Inputs as they are given (a batch of 10 becomes 1), outputs as inferred from them.

    Metadata go too: the preprocessing of onnxruntime 1.32 ends with a TypeError where there are any.
    """
    del model.metadata_props[:]
    for value in model.graph.input:
        if value.name in shapes:
            value.type.tensor_type.shape.CopyFrom(_shape(shapes[value.name]))
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model))


def _shape(dims: Sequence[int]) -> onnx.TensorShapeProto:
    return onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=d) for d in dims])


def _stage(name: str) -> None:
    print(f"stage {name}", file=sys.stderr, flush=True)


def _samples(path: Path) -> list[dict[str, np.ndarray]]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    count = len(next(iter(arrays.values())))
    return [{name: array[i] for name, array in arrays.items()} for i in range(count)]


def _target_session(path: str) -> ort.InferenceSession:
    libraries = find_libraries()
    ort.register_execution_provider_library("QNNExecutionProvider", str(libraries.provider))
    devices = [d for d in ort.get_ep_devices() if d.ep_name == "QNNExecutionProvider"][:1]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices(devices, {"backend_path": str(libraries.htp), **SOC})
    return ort.InferenceSession(path, sess_options=options)


if __name__ == "__main__":
    result = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # the library may not end by itself
