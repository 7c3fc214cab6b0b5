"""AIMET's weight rounding on an ONNX file, in an environment of its own: started by benchmarks/rounding.py.

    PYTHON rounding_peer.py FOLDER adaround|seqmse [--iterations 200] [--candidates 20]

FOLDER holds model.onnx, calibration.npy and held_out.npy. Writes FOLDER/METHOD.npy, the outputs on the held-out
inputs with quantized weights and float activations, and prints one JSON line with CPU seconds and peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import aimet_onnx
import numpy as np
import onnx
from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("method", choices=("adaround", "seqmse"))
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=20)
    options = parser.parse_args()
    model = onnx.load(options.folder / "model.onnx")
    fold_all_batch_norms_to_weight(model)
    batches = [{"input": b} for b in np.array_split(np.load(options.folder / "calibration.npy"), 4)]
    threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    sim = aimet_onnx.QuantizationSimModel(
        model,
        param_type="int4",
        activation_type="int8",
        config_file="htp_v81",
        providers=["CPUExecutionProvider"],
        session_options_kwargs=threads,
    )
    start = time.process_time()
    if options.method == "adaround":
        aimet_onnx.apply_adaround(sim, batches, num_iterations=options.iterations)
    else:
        aimet_onnx.apply_seq_mse(sim, batches, num_candidates=options.candidates)
    seconds = time.process_time() - start
    for name, quantizer in sim.qc_quantize_op_dict.items():
        if name in sim.activation_names:
            quantizer.enabled = False
    inputs = np.array_split(np.load(options.folder / "held_out.npy"), 4)
    outputs = [sim.session.run(None, {"input": x})[0] for x in inputs]
    np.save(options.folder / f"{options.method}.npy", np.concatenate(outputs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"method": options.method, "seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
