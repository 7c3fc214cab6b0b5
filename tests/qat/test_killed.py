"""Kill -9 in the middle, resume: every number is that of the run that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from qat.killed import train

SCRIPT = Path(__file__).with_name("killed.py")


def test_a_killed_process_resumes_to_the_same_result(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run([sys.executable, SCRIPT, file, "9"], env=environment, check=False, timeout=400)
    assert killed.returncode == -signal.SIGKILL and file.is_file()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    whole, expected = train(None)
    model, done = train(file)
    assert done.resumed_from == 8 and expected.resumed_from == 0
    assert done.losses == expected.losses and done.scores == expected.scores and done.frozen == expected.frozen > 0
    assert done.best_step == expected.best_step
    theirs = whole.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
