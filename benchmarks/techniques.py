"""Post-training techniques side by side: accuracy, flips, SQNR of the logits and seconds, on simulation and target.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/techniques.py efficientnet-lite0 --out lite0.jsonl
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/techniques.py demo rescaled --schemes w4a8 --out small.jsonl
    .venv/bin/python benchmarks/techniques.py --show small.jsonl

Each row is a recipe: quantized, simulated on the first ``--limit`` images, compiled, and run on Qualcomm's emulator on
the first ``--on-target`` of them (0: not compiled). Rows are appended to ``--out`` one by one; a row that is there
already (same network, scheme, technique, target and numbers of images) is not made again, so that a run can be stopped
at any time.

efficientnet-lite0: 20 ImageNet photos inside foolbox and 130 cut-outs of tuxpaint-stamps-default, calibrated on other
stamps and on photos (examples/efficientnet_lite0.py: calibration). demo: the demo's network on Fashion-MNIST.
rescaled: a depthwise network with badly scaled channels (benchmarks/badly_scaled.py). Techniques whose steps this
version lacks are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hexaquant as hq
from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.core.metrics import sqnr_db
from hexaquant.ptq.recipe import RECIPES, Recipe, parse_recipe

RANGES: list[Any] = ["calibrate"]
TECHNIQUES: dict[str, list[Any] | str] = {
    "nearest": "plain",
    "rotation": ["rotate_bottlenecks", "calibrate"],
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
KEY = ("network", "scheme", "technique", "target", "images", "on_target_images")
COLUMNS: tuple[str, ...] = ("network", "scheme", "technique", "images", "fp32", "sim", "sim_flips", "sim_sqnr_db")
COLUMNS += ("on_target_images", "fp32_there", "on_target", "target_flips", "target_sqnr_db", "seconds")
PERCENT = ("fp32", "sim", "fp32_there", "on_target")
ELEMENTS = 2**21
"""Of the images that run at once."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """``calibration`` and ``inputs``: float32 images; ``accepted``: the classes that count as right for each input;
    ``reference``: logits of the float network, which are computed once."""

    graph: hq.Graph
    calibration: np.ndarray
    inputs: np.ndarray
    accepted: list[frozenset[int]]
    net: torch.nn.Module
    reference: list[np.ndarray] = field(default_factory=list)

    def wanted(self, count: int) -> np.ndarray:
        if not self.reference:
            self.reference.append(run(self.net, self.inputs))
        return self.reference[0][:count]

    def right(self, logits: np.ndarray) -> np.ndarray:
        """(N,) bool: whether the largest logit is an accepted class."""
        return np.array([int(row.argmax()) in accepted for row, accepted in zip(logits, self.accepted)])


def run(net: torch.nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Logits of ``inputs``, many at once."""
    size = min(250, max(1, ELEMENTS // inputs[0].size))
    with torch.no_grad():
        return torch.cat([net(part) for part in torch.from_numpy(inputs).split(size)]).numpy()


def efficientnet_lite0(cache: Path) -> Task:
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    import efficientnet_lite0 as example

    pictures = [*example.photos(), *example.cutouts()]
    data = example.calibration()
    if not len(data):
        raise InputError("tuxpaint-stamps-default is not installed: its other stamps calibrate; apt-get install it")
    inputs = np.stack([example.preprocess(picture.path) for picture in pictures])
    net = example.load_model()
    graph = hq.load(net, example_inputs=(torch.from_numpy(inputs[:2]),))
    return Task(graph, data, inputs, [picture.accepted for picture in pictures], net)


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
    return Task(graph, normalized(load_train()[0][:256]), inputs, [frozenset({int(label)}) for label in labels], net)


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


def measure(task: Task, scheme: str, recipe: Recipe, target: str, images: int, on_target: int) -> Row:
    """Figures of one recipe. ``seconds``: of the quantization alone, CPU time of its process."""
    name = task.graph.inputs[0].name or "image"
    start = time.process_time()
    model = hq.quantize(task.graph.clone(), {name: task.calibration}, target=target, scheme=scheme, recipe=recipe)
    row: Row = {"seconds": round(time.process_time() - start, 1), "kept": verdicts(model.steps)}
    fp32, sim, text, db = figures(task, run(model, task.inputs[:images]))
    row |= {"fp32": fp32, "sim": sim, "sim_flips": text, "sim_sqnr_db": db}
    if not on_target:
        return row
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder)
        hq.compile(folder, target=target)
        with hq.Runtime(Path(folder) / f"model.{target}.bin") as runtime:
            found = [next(iter(runtime.run({name: x[None]}).values())) for x in task.inputs[:on_target]]
    fp32, there, text, db = figures(task, np.concatenate(found))
    return row | {"fp32_there": fp32, "on_target": there, "target_flips": text, "target_sqnr_db": db}


def figures(task: Task, logits: np.ndarray) -> tuple[float, float, str, float]:
    """(top-1 of FP32, of ``logits``, samples that got worse and better "-3 +1", SQNR in dB)."""
    wanted = task.wanted(len(logits))
    before, after = task.right(wanted), task.right(logits)
    flips = f"-{int((before & ~after).sum())} +{int((after & ~before).sum())}"
    return float(before.mean()), float(after.mean()), flips, round(sqnr_db(wanted, logits), 2)


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
    if isinstance(value, float) and column in PERCENT:
        return f"{100 * value:.2f}"
    return "-" if value is None else str(value)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["efficientnet-lite0"], help=", ".join(NETWORKS))
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES))
    parser.add_argument("--techniques", nargs="+", default=list(TECHNIQUES), help=", ".join(TECHNIQUES))
    parser.add_argument("--target", default="sm8650")
    parser.add_argument("--limit", type=int, help="images (default: all: 150 of ImageNet, 10,000 of Fashion-MNIST)")
    parser.add_argument("--on-target", type=int, help="images on the emulator (default: all), 0: simulation only")
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
        on_target = images if options.on_target is None else min(options.on_target, images)
        for scheme in options.schemes:
            for technique in options.techniques:
                row: Row = dict(zip(KEY, (network, scheme, technique, options.target, images, on_target)))
                recipe = recipe_of(technique)
                if recipe is None or tuple(row.values()) in known:
                    continue
                try:
                    row |= measure(task, scheme, recipe, options.target, images, on_target)
                except HexaquantError as error:
                    row["error"] = str(error)
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    show(read_rows(options.out))


if __name__ == "__main__":
    main()
