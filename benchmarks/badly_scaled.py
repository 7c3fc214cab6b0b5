"""A depthwise network with deliberately badly scaled channels: how far naive w8a8 falls, and what training wins back.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/badly_scaled.py [--spread 2] [--steps 420] [--images 500] [--json]
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/badly_scaled.py --epochs 1 --steps 210 --images 200 --recipe fast

A separable CNN with ReLU is trained on Fashion-MNIST, then channel c of every activation is multiplied by
exp(u_c), u_c uniform in +-spread, and divided again in the weights that read it: FP32 stays as it is. All quantized
versions have one scale a weight tensor; recipe ``plain`` is naive, ``fast`` equalizes. ``--images`` test images also
run on the emulator (0: none); the simulation is measured on all 10,000.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db
from hexaquant.demo.data import load_test, load_train, normalized
from hexaquant.demo.finetune import ShuffledImages
from hexaquant.demo.train import logits

BATCH = 64
Row = dict[str, Any]


def separable_net() -> nn.Sequential:
    """Three depthwise-separable blocks; (N, 1, 28, 28) to ten logits."""

    def layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = layer(1, 16, 3, 2)
    for inputs, outputs, stride in ((16, 32, 1), (32, 64, 2), (64, 64, 1)):
        layers += layer(inputs, inputs, 3, stride, inputs) + layer(inputs, outputs, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(64, 10))


def batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for index in torch.randperm(len(x)).split(BATCH):
        yield x[index], y[index]


def train(net: nn.Module, epochs: int) -> None:
    """FP32, with the labels; AdamW under a one-cycle schedule."""
    images, labels = load_train()
    x, y = torch.from_numpy(normalized(images)), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs * -(-len(x) // BATCH))
    for _ in range(epochs):
        for image, label in batches(x, y):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(net(image), label).backward()
            optimizer.step()
            schedule.step()
    net.eval()


def trained(path: Path | None, epochs: int) -> nn.Sequential:
    """The FP32 network in eval mode, from ``path`` where that exists, else trained now and kept there."""
    torch.manual_seed(0)
    net = separable_net()
    if path is not None and path.is_file():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    train(net, epochs)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), path)
    return net


@torch.no_grad()
def rescale(net: nn.Sequential, spread: float) -> None:
    """Multiply the channels of each activation and divide the weights that read them: ReLU lets factors through."""
    layers = list(net)
    rng = np.random.default_rng(0)
    for position, norm in enumerate(layers):
        reader = next((layer for layer in layers[position:] if isinstance(layer, nn.Conv2d)), None)
        if not isinstance(norm, nn.BatchNorm2d) or reader is None:
            continue
        factor = torch.from_numpy(np.exp(rng.uniform(-spread, spread, norm.num_features)).astype(np.float32))
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        depthwise = reader.groups > 1
        reader.weight.div_(factor.reshape((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)))


def on_emulator(model: Any, count: int) -> float:
    """Top-1 accuracy of ``count`` test images on the target."""
    images, labels = load_test()
    name = model.source_graph.inputs[0].name
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder)
        hq.compile(folder)
        report = hq.verify(folder, {name: normalized(images[:count]), "labels": labels[:count]}, model=model)
    return float(report["metrics"]["target"])


def measure(options: argparse.Namespace) -> Iterator[Row]:
    net = trained(options.weights, options.epochs)
    test, labels = load_test()
    x = normalized(test)
    original = logits(net, x)
    rescale(net, options.spread)
    reference = logits(net, x)

    def row_of(what: str, outputs: Any, model: Any = None) -> Row:
        row: Row = {"what": what, "top1": round(100 * float((outputs.argmax(1) == labels).mean()), 2)}
        row["sqnr_db"] = round(sqnr_db(reference, outputs), 1)
        if model is not None and options.images:
            row |= {"images": options.images, "target_top1": round(100 * on_emulator(model, options.images), 2)}
            row["fp32_top1_same_images"] = round(
                100 * float((reference.argmax(1) == labels)[: options.images].mean()), 2
            )
        return row

    yield row_of("FP32 before rescaling", original)
    yield row_of("FP32", reference)
    graph = hq.load(net, example_inputs=(torch.from_numpy(x[:2]),))
    name = graph.inputs[0].name or ""
    images = load_train()[0]
    coarse = {v.name or "": {"granularity": "tensor"} for v in graph.values() if (v.name or "").endswith("weight")}
    for recipe in options.recipe or ("plain", "fast"):
        calibration = {name: normalized(images[:256])}
        model = hq.quantize(graph, calibration, scheme="w8a8", recipe=recipe, overrides=coarse)
        yield row_of(f"w8a8 per tensor, recipe {recipe}", logits(model, x))
        hq.finetune(
            model,
            ShuffledImages(images, name),
            loss="kl",
            steps=options.steps,
            batch_size=BATCH,
            lr=options.lr,
            encoding_lr=options.lr,
        )
        yield row_of(f"  and {options.steps} steps of training", logits(model, x), model if recipe == "fast" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", type=float, default=2.0)
    parser.add_argument("--epochs", type=int, default=3, help="of FP32 training")
    parser.add_argument("--weights", type=Path, help="file that keeps the FP32 network (default: train it anew)")
    parser.add_argument("--steps", type=int, default=420, help="of quantization-aware training, without labels")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--images", type=int, default=500, help="test images on the emulator")
    parser.add_argument("--recipe", action="append", help="start of training; may be repeated (default: plain, fast)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(list(measure(options))))
        return
    for row in measure(options):
        print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
