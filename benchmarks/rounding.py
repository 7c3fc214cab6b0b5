"""Weight rounding of a ResNet18-shaped network at 4 bits: time, memory and output error, beside AIMET's.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/rounding.py [--aimet PYTHON] [--folder FOLDER] [--images 32]

``--aimet``: Python of an environment with aimet-onnx, in which benchmarks/rounding_peer.py runs AdaRound (200
iterations a layer) and SeqMSE (20 candidates) on the same network and inputs. One thread, CPU seconds of one process
a method; the error is that of the outputs on 32 held-out inputs, with quantized weights and float activations, as it
is and without the outputs' means (the outputs of a network with random weights hardly vary).
``--folder`` keeps the files; what is already there (a peer's outputs) is not computed again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cnns import resnet18, settle_statistics

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.ptq.apply import apply_recipe
from hexaquant.ptq.recipe import parse_recipe
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.planner import make_plan

OURS: dict[str, dict[str, Any]] = {
    "nearest": {"method": "nearest", "search_clips": False},
    "clip search": {"method": "nearest"},
    "gptq": {"method": "gptq"},
    "coordinate descent": {},
}


def make_network(folder: Path, images: int) -> None:
    """model.onnx, calibration.npy, held_out.npy and reference.npy (FP32 outputs on the held-out inputs)."""
    torch.manual_seed(0)
    net = resnet18()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    x = torch.randn(images + 32, 3, 224, 224)
    settle_statistics(net, torch.randn(8, 3, 224, 224), rounds=2)
    torch.onnx.export(
        net,
        (x[:1],),
        str(folder / "model.onnx"),
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
    np.save(folder / "calibration.npy", x[:images].numpy())
    np.save(folder / "held_out.npy", x[images:].numpy())
    with torch.no_grad():
        np.save(folder / "reference.npy", torch.cat([net(part) for part in x[images:].split(8)]).numpy())


def ours(folder: Path, name: str) -> None:
    """Round with one of OURS; the outputs go to FOLDER, the figures to stdout."""
    torch.set_num_threads(1)
    graph = hq.load(folder / "model.onnx")
    prepare_for_target(graph)
    model = QuantizedModel(graph, make_plan(graph, find_target("sm8650"), SCHEMES["w4a16"]))
    data = np.load(folder / "calibration.npy", mmap_mode="r")
    batches = [{"input": data[i : i + 8]} for i in range(0, len(data), 8)]
    steps = [{"calibrate": {"observer": "min_max"}}, {"round_weights": {**OURS[name], "samples": len(data)}}]
    start = time.process_time()
    reports = apply_recipe(
        model, lambda: ({"input": np.array(b["input"])} for b in batches), parse_recipe({"steps": steps})
    )
    total = time.process_time() - start
    held_out = torch.from_numpy(np.load(folder / "held_out.npy"))
    with torch.no_grad(), model.only(*(p.name for p in model.plan if p.role == "weight")):
        outputs = torch.cat([model(x) for x in held_out.split(8)])
    np.save(folder / f"{name}.npy", outputs.numpy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall = reports[-1].seconds
    share = wall / sum(report.seconds for report in reports)
    print(json.dumps({"method": name, "seconds": total * share, "with_calibration": total, "peak_mb": peak}))


def figures(folder: Path, name: str, command: list[str]) -> dict[str, Any]:
    """The figures of one method, from FOLDER or from running ``command``."""
    kept = folder / f"{name}.json"
    if not kept.is_file():
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        kept.write_text(done.stdout.strip().splitlines()[-1])
    result: dict[str, Any] = json.loads(kept.read_text())
    reference, got = (np.load(folder / f"{n}.npy") for n in ("reference", name))
    error = got - reference
    varying = sqnr_db(reference - reference.mean(0), reference - reference.mean(0) + error - error.mean(0))
    return result | {"sqnr_db": sqnr_db(reference, got), "varying_db": varying}


def report(folder: Path, images: int, aimet: str | None) -> None:
    if not (folder / "reference.npy").is_file():
        make_network(folder, images)
    peer = str(Path(__file__).with_name("rounding_peer.py"))
    rows = {}
    for name in ("seqmse", "adaround") if aimet else ():
        rows[name] = figures(folder, name, [str(aimet), peer, str(folder), name])
    for name in OURS:
        rows[name] = figures(folder, name, [sys.executable, __file__, "--folder", str(folder), "--ours", name])
    for name, row in rows.items():
        error = f"{row['sqnr_db']:6.2f} dB, without means {row['varying_db']:6.2f} dB"
        print(f"{name:20} {row['seconds']:8.1f} s  {row['peak_mb']:6.0f} MB  {error}")
    if aimet:
        for mine, other in (("clip search", "seqmse"), ("coordinate descent", "adaround")):
            part = rows[mine]["seconds"] / rows[other]["seconds"]
            print(f"{mine} / {other}: {part:.3f} of the time, {rows[mine]['sqnr_db'] - rows[other]['sqnr_db']:+.2f} dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aimet", help="Python of an environment with aimet-onnx")
    parser.add_argument("--folder", type=Path, help="keep files here")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        ours(options.folder, options.ours)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report(folder, options.images, options.aimet)


if __name__ == "__main__":
    main()
