"""Post-training techniques side by side: accuracy, flips, SQNR of the logits and seconds, on simulation and target.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/techniques.py efficientnet-lite0 --out lite0.jsonl
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/techniques.py demo rescaled --schemes w4a8 --out small.jsonl
    .venv/bin/python benchmarks/techniques.py --show small.jsonl

Each row is a recipe: quantized, compiled and measured on the first ``--limit`` images, on Qualcomm's emulator too
(``--no-target``: not). Rows are appended to ``--out`` one by one; a row that is there already (same network, scheme,
technique, target and number of images) is not made again, so that a run can be stopped at any time.

efficientnet-lite0: 20 ImageNet photos inside foolbox and 130 cut-outs of tuxpaint-stamps-default, calibrated on other
stamps (examples/efficientnet_lite0.py). demo: the demo's network on Fashion-MNIST. rescaled: a depthwise network with
badly scaled channels (benchmarks/badly_scaled.py). Techniques whose steps this version lacks are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hexaquant as hq
from hexaquant.analysis.metrics import Metric, top_k
from hexaquant.analysis.score import score_simulation
from hexaquant.api.artifacts import REFERENCE
from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.io.data import open_data
from hexaquant.ptq.recipe import RECIPES, Recipe, parse_recipe

RANGES: list[Any] = ["calibrate"]
TECHNIQUES: dict[str, list[Any] | str] = {
    "nearest": "plain",
    "CLE": ["equalize_layers", "calibrate"],
    "bias correction": [*RANGES, "correct_biases"],
    "gain and shift": [*RANGES, "refit_outputs"],
    "SeqMSE": [*RANGES, {"round_weights": {"method": "nearest", "search_clips": True}}],
    "GPTQ": [*RANGES, {"round_weights": {"method": "gptq"}}],
    "coordinate descent": [*RANGES, {"round_weights": {"method": "coordinate_descent"}}],
    "AdaRound": [*RANGES, {"round_weights": {"method": "adaround"}}],
    "BRECQ": [*RANGES, "reconstruct_blocks"],
    "fast": "fast",
    "best": "best",
}
"""Row -> a recipe by name, or its steps."""

SCHEMES = ("w8a8", "w4a8", "w4a16", "w8a16")
KEY = ("network", "scheme", "technique", "target", "images")
COLUMNS = ("network", "scheme", "technique", "fp32", "sim", "on_target", "sim_flips", "target_flips")
COLUMNS += ("sim_sqnr_db", "target_sqnr_db", "seconds")
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """``calibration`` and ``inputs``: float32 images; ``labels``: class indices or indices into accepted classes."""

    graph: hq.Graph
    calibration: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    metric: Metric


def efficientnet_lite0(cache: Path) -> Task:
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    import efficientnet_lite0 as example

    pictures = [*example.photos(), *example.cutouts()]
    calibration = example.unlabelled()[::8]
    if not calibration:
        raise InputError("tuxpaint-stamps-default is not installed: its other stamps calibrate; apt-get install it")
    inputs = np.stack([example.preprocess(picture.path) for picture in pictures])

    def top1(outputs: Mapping[str, np.ndarray], index: Any) -> float:
        return float(int(next(iter(outputs.values())).argmax()) in pictures[int(index)].accepted)

    graph = hq.load(example.load_model(), example_inputs=(torch.from_numpy(inputs[:2]),))
    data = np.stack([example.preprocess(path) for path in calibration])
    return Task(graph, data, inputs, np.arange(len(pictures)), top1)


def demo(cache: Path) -> Task:
    from hexaquant.demo.train import trained_network

    return fashion_mnist(trained_network(cache / "demo.safetensors"))


def rescaled(cache: Path) -> Task:
    from badly_scaled import rescale, separable_net, train

    torch.manual_seed(0)
    net, path = separable_net(), cache / "separable.pt"
    if path.is_file():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(net, 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), path)
    rescale(net.eval(), 2.0)
    return fashion_mnist(net)


def fashion_mnist(net: torch.nn.Module) -> Task:
    from hexaquant.demo.data import load_test, load_train, normalized

    images, labels = load_test()
    inputs = normalized(images)
    graph = hq.load(net, example_inputs=(torch.from_numpy(inputs[:2]),))
    return Task(graph, normalized(load_train()[0][:256]), inputs, labels, top_k(1))


NETWORKS: dict[str, Callable[[Path], Task]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "demo": demo,
    "rescaled": rescaled,
}


def recipe_of(technique: str) -> Recipe | None:
    """None when this version lacks one of its steps."""
    steps = TECHNIQUES[technique]
    if isinstance(steps, str):
        return RECIPES.get(steps)
    try:
        return parse_recipe({"name": technique, "steps": steps})
    except InputError:
        return None


def measure(task: Task, scheme: str, recipe: Recipe, target: str, limit: int | None, on_target: bool) -> Row:
    """Figures of one recipe. ``seconds``: of the quantization alone."""
    name = task.graph.inputs[0].name or "image"
    evaluation = {name: task.inputs[:limit], "labels": task.labels[:limit]}
    start = time.perf_counter()
    model = hq.quantize(task.graph, {name: task.calibration}, target=target, scheme=scheme, recipe=recipe)
    seconds = round(time.perf_counter() - start, 1)
    row: Row = {"seconds": seconds, "kept": verdicts(model.steps)}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        model.export(folder)
        flips = Flips(task.metric)
        score = score_simulation(model, folder / REFERENCE, open_data(evaluation, task.graph), flips)
        row |= {"fp32": score.fp32, "sim": score.sim, "sim_sqnr_db": round(score.sqnr_db, 2), "sim_flips": flips.text()}
        if not on_target:
            return row
        hq.compile(folder)
        report = hq.verify(folder, evaluation, metric=task.metric, model=model)
    figures, paired = report["outputs"][0], report["flips"]
    row |= {"on_target": report["metrics"]["target"], "target_sqnr_db": figures["fp32_vs_target_sqnr_db"]}
    return row | {"target_flips": f"-{paired['worse']} +{paired['better']}"}


class Flips:
    """The metric itself; it is asked for FP32 and simulation in turn, and counts where they differ."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._scores: list[float] = []

    def __call__(self, outputs: Mapping[str, np.ndarray], label: Any) -> float:
        self._scores.append(self._metric(outputs, label))
        return self._scores[-1]

    def text(self) -> str:
        """ "-3 +1": samples that got worse, and better."""
        pairs = list(zip(self._scores[::2], self._scores[1::2]))
        return f"-{sum(b < a for a, b in pairs)} +{sum(b > a for a, b in pairs)}"


def verdicts(steps: tuple[Row, ...]) -> dict[str, str]:
    """Optional step -> kept or dropped."""
    found = {}
    for index, step in enumerate(steps):
        held = step["details"].get("held_out")
        if held is not None:
            found[f"{index} {step['step']}"] = held["verdict"]
    return found


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def show(rows: list[Row]) -> None:
    """A table for people."""
    widths = [max(len(column), *(len(cell(row, column)) for row in rows)) for column in COLUMNS] if rows else []
    for line in (dict(zip(COLUMNS, COLUMNS)), *rows):
        print("  ".join(cell(line, column).ljust(width) for column, width in zip(COLUMNS, widths)))


def cell(row: Row, column: str) -> str:
    value = row.get(column)
    if isinstance(value, float) and column in ("fp32", "sim", "on_target"):
        return f"{100 * value:.2f}"
    return "-" if value is None else str(value)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["efficientnet-lite0"], help=", ".join(NETWORKS))
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES))
    parser.add_argument("--techniques", nargs="+", default=list(TECHNIQUES), help=", ".join(TECHNIQUES))
    parser.add_argument("--target", default="sm8650")
    parser.add_argument("--limit", type=int, help="images (default: all: 150 of ImageNet, 10,000 of Fashion-MNIST)")
    parser.add_argument("--no-target", action="store_true", help="simulation only")
    parser.add_argument("--out", type=Path, default=Path("out/techniques.jsonl"), help="rows, appended")
    parser.add_argument("--cache", type=Path, default=Path("out/techniques"), help="weights of trained networks")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of FILE and stop")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.show:
        show(read_rows(options.show))
        return
    known = {tuple(row.get(key) for key in KEY) for row in read_rows(options.out)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for network in options.networks:
        task = NETWORKS[network](options.cache)
        images = len(task.inputs[: options.limit])
        for scheme in options.schemes:
            for technique in options.techniques:
                target = "none" if options.no_target else options.target
                row: Row = dict(zip(KEY, (network, scheme, technique, target, images)))
                recipe = recipe_of(technique)
                if recipe is None or tuple(row.values()) in known:
                    continue
                try:
                    row |= measure(task, scheme, recipe, options.target, options.limit, not options.no_target)
                except HexaquantError as error:
                    row["error"] = str(error)
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    show(read_rows(options.out))


if __name__ == "__main__":
    main()
