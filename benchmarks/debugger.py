"""Does the debugger name the layer whose encoding was corrupted? EfficientNet-Lite0, one tensor a case, at random.

    python benchmarks/debugger.py --cases 10 --seed 0

Each case changes one entry of model.encodings in a copy of the artifact folder: its scale times 4 or divided by 4, or
(activations only: weights are symmetric) its offset shifted by a quarter of the grid. A case counts as right when the
first finding names the tensor's layer and the tensor where the simulation leaves FP32 is that layer's output.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from lite0 import INPUT, pictures, quantized_folder

import hexaquant as hq
from hexaquant.analysis.places import Place, find_places

KINDS = ("scale x 4", "scale / 4", "offset")


def corrupt(entry: dict[str, Any], kind: str) -> None:
    """Change one entry of an encodings file of version 1.0.0."""
    if kind.startswith("scale"):
        factor = 4.0 if "x" in kind else 0.25
        entry["scale"] = [value * factor for value in entry["scale"]]
        return
    quarter = 2 ** entry["bw"] // 4
    shift = -quarter if entry["offset"][0] > -2 * quarter else quarter
    entry["offset"] = [value + shift for value in entry["offset"]]


def draw(document: dict[str, Any], owners: set[str], kind: str, chance: random.Random) -> dict[str, Any]:
    """An entry of a tensor with an encoding of its own."""
    sections = ("activation_encodings",) if kind == "offset" else ("activation_encodings", "param_encodings")
    entries = [entry for section in sections for entry in document[section] if entry["name"] in owners]
    return chance.choice(entries)


def run_case(folder: Path, case: int, args: argparse.Namespace, data: dict[str, Any]) -> bool:
    kind, chance = KINDS[case % len(KINDS)], random.Random(f"{args.seed} {case}")
    model = hq.load_quantized(folder)
    places = find_places(model.source_graph, model.plan)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(folder, Path(temporary) / "out"))
        path = copy / "model.encodings"
        document = json.loads(path.read_text())
        entry = draw(document, {plan.name for plan in model.plan if plan.how in ("observed", "own")}, kind, chance)
        corrupt(entry, kind)
        path.write_text(json.dumps(document))
        start = time.monotonic()
        report = hq.debug(copy, data, samples=args.samples, target=not args.no_target, workers=args.workers)
        seconds = time.monotonic() - start
    wanted = places[entry["name"]]
    named = places[report.findings[0].tensor] if report.findings else Place("", None, "nothing")
    first = report.first_simulation_leaves_fp32
    right = named.layer == wanted.layer and first is not None and places[first].layer == wanted.layer
    print(f"{'right' if right else 'WRONG'}  {seconds:5.0f} s  {kind:9}  {wanted.shown}  '{entry['name']}'", flush=True)
    print(f"       {report.findings[0].text if report.findings else 'no finding'}", flush=True)
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("out/efficientnet_lite0/w8a8"), help="made when missing")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None, help="emulator processes")
    parser.add_argument("--no-target", action="store_true", help="without the emulator")
    args = parser.parse_args()
    data = pictures(32)
    folder = quantized_folder(args.folder, data)
    samples = {INPUT: data[INPUT][: args.samples]}
    cases = range(args.first, args.first + args.cases)
    right = [run_case(folder, case, args, samples) for case in cases]
    print(f"{sum(right)} of {len(right)} right")


if __name__ == "__main__":
    main()
