"""``python -m hexaquant.demo``: a network from FP32 training to an accuracy measured on the NPU emulator.

Trains a small CNN on Fashion-MNIST, quantizes it after training to w8a8 and w4a8 (PTQ), trains the quantized network
on towards FP32 (QAT, the last scheme), converts each to a DLC and a context binary for one SoC, runs test images on
Qualcomm's emulator and prints one table.
"""

# ruff: noqa: E402
from hexaquant.core.child_process import drop_working_folder

drop_working_folder()

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from hexaquant.cli.console import Console
from hexaquant.core.errors import HexaquantError
from hexaquant.core.events import Events
from hexaquant.htp.soc import DEFAULT_TARGET

SCHEMES = ("w8a8", "w4a8")
CALIBRATION = 256
"""Training images that calibrate."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = _options(argv)
    console = Console(json=options.json)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    start = time.monotonic()
    try:
        with console.events() as events:
            schemes = tuple(options.scheme or SCHEMES)
            rows = run(Path(options.out), options.images, options.target, schemes, options.qat_epochs, events)
    except HexaquantError as error:
        console.fail(f"error: {error}", error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        console.say("interrupted; run the same command again to go on where it stopped")
        return 130
    took = f"{time.monotonic() - start:.0f} s. Artifacts in {options.out}/<scheme>/; next: see README.md"
    console.result({"demo": rows, "seconds": round(time.monotonic() - start, 1)}, lambda: table(rows), lambda: took)
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m hexaquant.demo", description=__doc__)
    parser.add_argument("-o", "--out", default="out/demo", help="folder for the artifacts (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, default=500, help="test images to run on the emulator (default: %(default)s)"
    )
    parser.add_argument("--target", default=DEFAULT_TARGET, help="SoC to compile for (default: %(default)s)")
    parser.add_argument("--scheme", action="append", help="scheme to quantize to; may be given several times")
    parser.add_argument(
        "--qat-epochs", type=float, default=0.5, help="passes of training after PTQ; 0: none (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    return parser.parse_args(argv)


def run(
    out: Path, images: int, target: str, schemes: tuple[str, ...], qat_epochs: float, events: Events
) -> list[dict[str, Any]]:
    """One report of ``verify.json`` for each scheme, and one for the last scheme with training (``method`` tells),
    with the FP32 accuracy on all 10,000 test images.
    """
    import torch

    import hexaquant as hq
    from hexaquant.demo.data import load_test, load_train, normalized
    from hexaquant.demo.finetune import Training, deploy_trained
    from hexaquant.demo.train import logits, trained_network

    network = trained_network(out / "fp32.safetensors", events=events)
    test, labels = load_test()
    x = normalized(test)
    full = float((logits(network, x).argmax(1) == labels).mean())
    events.note("train", f"FP32 accuracy on all {len(labels)} test images: {full:.2%}")
    graph = hq.load(network, example_inputs=(torch.from_numpy(x[:2]),))
    name = graph.inputs[0].name or "image"
    training = load_train()[0]
    calibration = {name: normalized(training[:CALIBRATION])}
    evaluation = {name: x[:images], "labels": labels[:images]}
    rows = []
    for scheme in schemes:
        events.note("deploy", f"{scheme} for {target}")
        report = hq.deploy(
            graph, calibration, out / scheme, eval_data=evaluation, target=target, scheme=scheme, events=events
        )
        rows.append(report | {"method": "PTQ", "fp32_all_test_images": full})
    if qat_epochs > 0:
        scheme = schemes[-1]
        events.note("finetune", f"{scheme} trained towards FP32, {qat_epochs:g} passes over the training images")
        folder = out / f"{scheme}-qat"
        how = Training(target, scheme, qat_epochs)
        report = deploy_trained(graph, training, calibration, evaluation, folder, how, events)
        rows.append(report | {"method": "QAT", "fp32_all_test_images": full})
    return rows


def table(rows: list[dict[str, Any]]) -> Any:
    """The demo's table: a row for FP32, and for each scheme one for the simulation and one for the target."""
    from rich.table import Table

    first = rows[0]
    title = f"Fashion-MNIST, {first['samples']} test images, {first['target']} (Qualcomm's HTP emulator)"
    result = Table(title=title)
    for heading in ("network", "top-1 %", "agrees with sim %", "SQNR to FP32 dB", "SQNR to sim dB", "bytes"):
        result.add_column(heading, justify="left" if heading == "network" else "right")
    result.add_row("FP32 (onnxruntime)", _percent(first["metrics"]["fp32"]), "", "", "", "")
    for row in rows:
        output = row["outputs"][0]
        files = row["artifacts"]
        sim = row["metrics"]["sim"]
        target = row["metrics"]["target"]
        onnx = f"{files['qdq']['bytes']:,}"
        name = f"{row['scheme']} {row['method']}"
        result.add_row(f"{name} simulation", _percent(sim), "", _db(output["fp32_vs_sim_sqnr_db"]), "", onnx)
        result.add_row(
            f"{name} on target",
            _percent(target),
            _percent(output["top1_agreement_sim_target"]),
            _db(output["fp32_vs_target_sqnr_db"]),
            _db(output["sim_vs_target_sqnr_db"]),
            f"{files['binary']['bytes']:,}",
        )
    return result


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _db(value: float | None) -> str:
    return "same" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
