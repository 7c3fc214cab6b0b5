"""Sweeps: the same figures from one process, two, and after an interruption."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import hexaquant as hq
from analysis.nets import exported, quantized_net, samples
from hexaquant.analysis.sensitivity import MODES, Study, Task, make_study
from hexaquant.analysis.sweep import run_sweep
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events

X = samples(8, seed=3)
LABELS = np.arange(8) % 5
TASKS = [Task(mode, i, {"x": X[2 * i : 2 * i + 2]}, LABELS[2 * i : 2 * i + 2]) for i in range(4) for mode in MODES]


@pytest.fixture(scope="module")
def study() -> Study:
    return make_study(quantized_net(), {}, "top1")


def test_processes_give_the_figures_of_one(study: Study, tmp_path: Path) -> None:
    alone = run_sweep(study, TASKS, 1, tmp_path / "one")
    assert run_sweep(study, TASKS, 2, tmp_path / "two") == alone
    assert set(alone) == {task.key for task in TASKS}


def test_finished_parts_are_not_run_again(study: Study, tmp_path: Path) -> None:
    first = run_sweep(study, TASKS[:3], 1, tmp_path)
    (tmp_path / f"{TASKS[0].key}.json").write_text('{"torn": ')
    done: list[int] = []

    def listen(event: Event) -> None:
        if event.kind == "end":
            done.append(event.done)

    whole = run_sweep(study, TASKS, 1, tmp_path, Events(listen))
    assert done == [len(TASKS) - 2]
    assert {key: whole[key] for key in first} == first


def test_a_metric_that_cannot_travel_is_refused(study: Study, tmp_path: Path) -> None:
    homely = dataclasses.replace(study, metric=lambda outputs, label: 1.0)
    with pytest.raises(InputError, match="module:function"):
        run_sweep(homely, TASKS, 2, tmp_path)
    assert run_sweep(homely, TASKS[:1], 1, tmp_path)["on-0"]["base"]["score"] == 2.0


def test_killed_and_called_again_it_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    """kill -9 in the middle, as a crash of the machine would."""
    folder, data = exported(tmp_path / "out"), tmp_path / "data.npz"
    np.savez(data, x=samples(32, seed=9), labels=np.arange(32) % 5)
    command = [sys.executable, "-m", "hexaquant", "analyze", str(folder), "--data", str(data), "--samples", "32"]
    command += ["--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 120
    while len(list((folder / ".state").glob("analysis/*/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = len(list((folder / ".state").glob("analysis/*/*.json")))
    assert 2 <= kept < 16 and not (folder / "analysis.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{kept} of 16 parts are there" in done.stderr
    interrupted = json.loads((folder / "analysis.json").read_text())
    assert not (folder / ".state" / "analysis").exists()
    whole = hq.analyze(folder, {"x": samples(32, seed=9), "labels": np.arange(32) % 5}, samples=32, workers=1)
    assert json.loads(json.dumps(whole.to_dict())) == interrupted
