"""Kill long commands of hexaquant at random moments, resume each until it is done, compare the bytes.

Each round runs a command again and again, kills it (SIGKILL to its whole process group) after a random time, and lets
the last try end. After every kill each file under its final name must be whole (its SHA-256 as in manifest.json);
at the end every artifact without a time in it must have the bytes of the uninterrupted run, the context binary too.
Usage: random_kills.py [deploy qat auto analyze debug] [--kills 200] [--seed 0]     (default: deploy qat)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

VOLATILE = {"report.html", "verify.json", "lint.json", "model.dlc"}
"""Files that hold times (a DLC that of its creation); the binary made from the DLC is compared."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.ReLU(),
        nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def prepare(folder: Path) -> None:
    torch.onnx.export(
        network().eval(), (torch.zeros(1, 1, 16, 16),), folder / "net.onnx", input_names=["x"], dynamo=True
    )
    generator = np.random.default_rng(0)
    images = generator.normal(size=(64, 1, 16, 16)).astype(np.float32)
    np.savez(folder / "data.npz", x=images, labels=generator.integers(0, 10, 64))


def commands(folder: Path, out: Path) -> dict[str, list[list[str]]]:
    """Command -> what to run one after the other; the last is the one that is killed."""
    deploy = ["deploy", "net.onnx", "--data", "data.npz", "--eval-data", "data.npz", "--scheme", "w4a8", "-o", str(out)]
    quantize = ["quantize", *deploy[1:4], "--scheme", "w4a8", "-o", str(out)]
    train = ["qat", str(out), "--data", "data.npz", "--epochs", "6", "--batch-size", "8"]
    search = ["auto", *deploy[1:6], "--max-drop", "30", "-o", str(out)]
    look = [str(out), "--data", "data.npz", "--workers", "1"]
    return {
        "deploy": [deploy],
        "qat": [quantize, train],
        "auto": [search],
        "analyze": [quantize, ["analyze", *look]],
        "debug": [deploy, ["debug", *look]],
    }


def start(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "hexaquant", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(program, cwd=folder, start_new_session=True, **quiet)  # type: ignore[call-overload]


def finish(folder: Path, arguments: list[str]) -> float:
    began, child = time.monotonic(), start(folder, arguments)
    _, told = child.communicate()
    if child.returncode:
        raise SystemExit(f"hexaquant {' '.join(arguments)} ended with {child.returncode}: {told.decode()[-800:]}")
    return time.monotonic() - began


def digest(out: Path) -> dict[str, str]:
    """SHA-256 of every artifact, the folder's own path in it apart; hidden state is not one."""
    files = [
        p for p in out.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.relative_to(out).parts)
    ]
    kept = [p for p in files if p.name not in VOLATILE | {"manifest.json"}]
    return {p.name: hashlib.sha256(p.read_bytes().replace(bytes(out), b"OUT")).hexdigest() for p in kept}


def damaged(out: Path) -> list[str]:
    """Artifacts under their final names that are not what the manifest says, or cannot be read."""
    manifest = out / "manifest.json"
    if not manifest.exists():
        return []
    try:
        records = json.loads(manifest.read_text())["files"]
    except (ValueError, KeyError) as error:
        return [f"manifest.json: {error}"]
    wrong = []
    for name, record in records.items():
        file = out / name
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != record["sha256"]:
            wrong.append(name)
    return wrong


def rounds(kind: str, folder: Path, kills: int, choose: random.Random) -> dict[str, object]:
    """``kills`` kills of the command ``kind``, up to ten before it is let alone, and what came of them."""
    whole = folder / f"whole-{kind}"
    *first, last = commands(folder, whole)[kind]
    for each in first:
        finish(folder, each)
    seconds = finish(folder, last)
    wanted = digest(whole)
    done, ends, corrupt, number = 0, Counter[str](), 0, 0
    while done < kills:
        out, number = folder / f"{kind}-{number}", number + 1
        *first, last = commands(folder, out)[kind]
        for each in first:
            finish(folder, each)
        killed = 0
        while killed < min(choose.randint(4, 10), kills - done):
            began = time.monotonic()
            if not killed_after(choose.uniform(0.1, 1.0) * seconds, folder, last):
                seconds = seconds if killed else time.monotonic() - began
                break
            killed += 1
            bad = damaged(out)
            corrupt += bool(bad)
            if bad:
                print(f"{out.name}: damaged after a kill: {', '.join(bad)}", flush=True)
        done += killed
        finish(folder, last)
        got = digest(out)
        other = sorted(n for n in wanted.keys() | got.keys() if got.get(n) != wanted.get(n))
        ends["different" if other else "same bytes"] += 1
        outcome = f"differs: {', '.join(other)}" if other else "same bytes"
        print(f"{out.name}: killed {killed} times ({done} of {kills}), {outcome}", flush=True)
    return {"kills": done, "resumed runs": dict(ends), "damaged files after a kill": corrupt}


def killed_after(seconds: float, folder: Path, arguments: list[str]) -> bool:
    """Start a command and kill its process group after ``seconds``; False when it was done before."""
    child = start(folder, arguments)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    return child.returncode == -signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", default=["deploy", "qat"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        choose = random.Random(options.seed)
        share = {kind: (options.kills + n) // len(options.commands) for n, kind in enumerate(options.commands)}
        report = {kind: rounds(kind, Path(folder), count, choose) for kind, count in share.items()}
        left = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True).stdout.split()
        print(json.dumps({**report, "processes left": len(left)}, indent=2))


if __name__ == "__main__":
    main()
