"""Fashion-MNIST on a depthwise ReLU network whose channels are badly scaled on purpose: what graph transforms recover.

    OMP_NUM_THREADS=1 python benchmarks/graph_transforms.py [--spread 2] [--limit 10000] [--json]

The network is trained for two epochs on the subset inside the package (kept in --weights), then every channel that can
be rescaled without changing the function is multiplied by exp(u), u uniform in +-SPREAD. Simulation of sm8650.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db
from hexaquant.demo.data import load_test, load_train, normalized
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ptq.recipe import parse_recipe
from hexaquant.transforms.channel_rules import find_scaling

PLAIN: dict[str, Any] = {"calibrate": {"observer": "min_max", "weight_observer": "min_max"}}
RECIPES: dict[str, list[Any]] = {
    "naive": [PLAIN],
    "equalize": ["equalize_layers", PLAIN],
    "fast": ["calibrate", "correct_biases"],
    "equalize + fast": ["equalize_layers", "calibrate", "correct_biases"],
}
SCHEMES = (("w8a8", "tensor"), ("w8a8", "channel"), ("w4a8", "channel"))


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with BatchNorm and ReLU."""
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
    norms = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(depthwise, norms[0], nn.ReLU(), pointwise, norms[1], nn.ReLU())


class Residual(nn.Module):
    """x + f(x), f separable."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = separable(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def network() -> nn.Sequential:
    """(N, 1, 28, 28) to 10 logits in the manner of MobileNet, 31,000 parameters."""
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    body = [separable(16, 32, 2), Residual(32), separable(32, 64, 2), Residual(64), separable(64, 128, 1)]
    return nn.Sequential(stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def trained(path: Path, epochs: int = 2) -> nn.Sequential:
    """The network in eval mode, from ``path`` or trained now."""
    torch.manual_seed(0)
    net = network()
    if path.is_file():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    images, labels = load_train()
    x, y = torch.from_numpy(normalized(images)), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs * (len(x) // 64 + 1), pct_start=0.2)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(net(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net.eval()


def rescaled(graph: hq.Graph, spread: float) -> hq.Graph:
    """A graph of the same function whose channels are multiplied by exp(u), u uniform in +-``spread``."""
    result = graph.clone()
    prepare_for_target(result)
    scaling = find_scaling(result)
    scales = np.exp(np.random.default_rng(0).uniform(-spread, spread, scaling.size))
    scales[0] = 1
    scaling.apply(scales)
    return result


def rows(graph: hq.Graph, reference: np.ndarray, labels: np.ndarray, test: Tensor, args: argparse.Namespace) -> Any:
    """One row for each scheme, granularity and recipe."""
    calibration = normalized(load_train()[0][:128])
    weights = [n.inputs[1].name for n in graph.nodes if n.op_type in ("Conv", "Gemm")]  # type: ignore[union-attr]
    for scheme, granularity in SCHEMES:
        bits = {"bits": int(scheme[1]), "granularity": "tensor"}
        overrides = dict.fromkeys(weights, bits) if granularity == "tensor" else None
        for name, steps in RECIPES.items():
            recipe = parse_recipe({"name": name, "steps": steps})
            model = hq.quantize(graph, calibration, scheme=scheme, recipe=recipe, overrides=overrides)
            with torch.inference_mode():
                logits = torch.cat([model(part) for part in test.split(250)]).numpy()
            top1 = 100 * float((logits.argmax(1) == labels).mean())
            row = {"scheme": scheme, "weights": granularity, "recipe": name, "top1": round(top1, 2)}
            yield row | {"sqnr": round(sqnr_db(reference, logits), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", type=float, default=2.0, help="of the logarithms of the factors")
    parser.add_argument("--limit", type=int, default=10000, help="test images (default: %(default)s)")
    parser.add_argument("--weights", type=Path, default=Path("out/graph_transforms/weights.pt"))
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    args = parser.parse_args()
    images, labels = (a[: args.limit] for a in load_test())
    test = torch.from_numpy(normalized(images))
    net = trained(args.weights)
    with torch.inference_mode():
        reference = torch.cat([net(part) for part in test.split(250)]).numpy()
    graph = rescaled(hq.load(net, example_inputs=(test[:2],)), args.spread)
    head = {"scheme": "FP32", "weights": "", "recipe": "", "sqnr": None}
    found = [head | {"top1": round(100 * float((reference.argmax(1) == labels).mean()), 2)}]
    for row in rows(graph, reference, labels, test, args):
        found.append(row)
        if not args.json:
            print("  ".join(f"{row[k]!s:16}" for k in ("scheme", "weights", "recipe", "top1", "sqnr")), flush=True)
    if args.json:
        print(json.dumps(found))
    else:
        print(f"FP32 top-1 {found[0]['top1']}")


if __name__ == "__main__":
    main()
