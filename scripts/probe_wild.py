"""Random compositions of the kinds that strangers' networks are made of, each from file to a verified binary.

    python scripts/probe_wild.py [--count 100] [--seed 0] [--scheme w8a8 w8a16] [--keep FOLDER]

A network is three to six blocks (scripts/wild/blocks.py: masks of -inf, rank 6, arithmetic of a free batch, states,
Einsum, float16, empty roi, odd Pad and Resize modes ...) between an input and one or two outputs. Each is compared with
onnxruntime without optimisations: the imported float network, the simulation, and the target. A network fails when

* the import computes something else (below 60 dB),
* the target parts from the simulation, or the simulation from the float network, in silence,
* it is refused after calibration began, or an error is no sentence of ours.

Refusals before any work are counted and shown by their sentence. Exit 1 when a network fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from hexaquant.api.deploy import deploy
from hexaquant.core.errors import HexaquantError
from hexaquant.core.events import Event, Events
from hexaquant.core.metrics import sqnr_db
from hexaquant.frontends import load
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from wild.compose import Composition, compose, reference

SAMPLES, HELD = 12, 4
"""To calibrate, and of these to verify on: ranges hold there, so that an error is an error of a form."""
IMPORT_DB = 60.0
LEAST = {"w8a8": (12.0, 18.0), "w8a16": (22.0, 28.0)}
"""dB below which a result is an error: FP32 to simulation (random weights, few samples), simulation to target."""
APART = 3.0
"""The target is at fault where it is so many dB further from the simulation than that is from FP32."""


def judge(made: Composition, scheme: str, folder: Path) -> str:
    """ "runs", "refused: ..." or, for what must not be, "FAIL ..."."""
    import torch

    file = folder / "net.onnx"
    onnx.save(made.model, file)
    samples = [made.sample(index) for index in range(SAMPLES)]
    wanted = [reference(made.model, sample) for sample in samples[:2]]
    calibrating: list[str] = []

    def see(event: Event) -> None:
        if event.task == "calibrate":
            calibrating.append(event.kind)

    try:
        graph = load(file)
        module, names = build_module(graph).eval(), [value.name or "" for value in graph.inputs]
        for sample, outputs in zip(samples, wanted):
            with torch.no_grad():
                got = module(*[torch.from_numpy(_as_input(graph, name, sample[name])) for name in names])
            got = [got] if isinstance(got, torch.Tensor) else list(got)
            worst = min(sqnr_db(want, part.numpy()) for want, part in zip(outputs, got, strict=True))
            if not worst > IMPORT_DB:
                return f"FAIL the import computes something else: {worst:.1f} dB"
        report = deploy(
            graph,
            samples,
            folder / "out",
            eval_data=samples[:HELD],
            scheme=scheme,
            recipe="plain",
            metric=None,
            report=False,
            workers=1,
            events=Events(see),
        )
    except HexaquantError as error:
        late = "FAIL refused late" if calibrating else "refused"
        return f"{late}: {' '.join(str(error).split())[:240]}"
    except Exception as error:
        return f"FAIL {type(error).__name__}: {str(error)[:240]}"
    return _silent(report["outputs"], scheme) or "runs"


def _as_input(graph: Graph, name: str, array: np.ndarray) -> np.ndarray:
    value = next(v for v in graph.inputs if v.name == name)
    return array if value.dtype is None else array.astype(value.dtype.numpy())


def _silent(outputs: list[dict[str, object]], scheme: str) -> str | None:
    own, target = LEAST[scheme]
    for output in outputs:
        quantized, faithful = output["fp32_vs_sim_sqnr_db"], output["sim_vs_target_sqnr_db"]
        if isinstance(quantized, float) and quantized < own:
            return f"FAIL {output['name']} FP32 to simulation {quantized:.1f} dB"
        if isinstance(faithful, float) and isinstance(quantized, float) and faithful < min(target, quantized - APART):
            return f"FAIL {output['name']} simulation to target {faithful:.1f} dB, FP32 to simulation {quantized:.1f}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scheme", nargs="+", default=list(LEAST), choices=list(LEAST))
    parser.add_argument("--keep", type=Path, help="folder for the networks that fail")
    options = parser.parse_args()
    tally: Counter[str] = Counter()
    for number in range(options.seed, options.seed + options.count):
        scheme = options.scheme[number % len(options.scheme)]
        made = compose(number)
        with tempfile.TemporaryDirectory() as folder:
            verdict = judge(made, scheme, Path(folder))
        kind = verdict.split(":")[0] if verdict != "runs" else verdict
        tally["failed" if kind.startswith("FAIL") else kind] += 1
        print(f"{number} {scheme} [{' '.join(made.blocks)}] {verdict}", flush=True)
        if kind.startswith("FAIL") and options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            onnx.save(made.model, options.keep / f"{number}.onnx")
    print(", ".join(f"{count} {kind}" for kind, count in tally.most_common()))
    return int(tally["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
