"""How faithful the simulation is to the target as a network gets deep: 29 3x3 convolutions with ReLU, 64 channels.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/fidelity.py [--samples 8] [--scheme w8a8]

Weights as PyTorch initialises them, and as He et al. do (signal of constant power through all layers: the hardest
case, where one flipped rounding grows into many). Held-out random samples of 32x32; SQNR of the output in dB.
"""

from __future__ import annotations

import argparse
import tempfile

import torch
from cnns import conv_stack
from torch import nn

import hexaquant as hq


def measure(init: str, scheme: str, samples: int) -> str:
    torch.manual_seed(0)
    net = conv_stack().eval()
    if init == "He":
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    x = torch.randn(16 + samples, 3, 32, 32)
    with tempfile.TemporaryDirectory() as folder:
        report = hq.deploy(
            net, [x[:16]], folder, eval_data=[x[16:]], scheme=scheme, metric=None, example_inputs=(x[:2],)
        )
    figures = report["outputs"][0]
    pairs = ("fp32_vs_sim_sqnr_db", "sim_vs_target_sqnr_db", "fp32_vs_target_sqnr_db", "sim_vs_target_max_lsb")
    return f"{init:8} {scheme}  " + "  ".join(f"{key}={figures[key]}" for key in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--scheme", default="w8a8")
    options = parser.parse_args()
    for init in ("PyTorch", "He"):
        print(measure(init, options.scheme, options.samples), flush=True)


if __name__ == "__main__":
    main()
