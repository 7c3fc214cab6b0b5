"""Two processes that share each batch get what one process gets, up to the order of additions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers import make_observer
from hexaquant.qat.devices import check_accelerator, part_of
from qat.one_of_several import batch_statistics, results

SCRIPT = Path(__file__).with_name("one_of_several.py")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What the first of two gloo processes saved."""
    file = tmp_path_factory.mktemp("ranks") / "found.pt"
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": str(SCRIPT.parents[1]), "ACCELERATE_USE_CPU": "true"}
    places = [os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    runs = [subprocess.Popen([sys.executable, SCRIPT, file], env=e, stderr=subprocess.PIPE, text=True) for e in places]
    try:
        errors = [run.communicate(timeout=500)[1] for run in runs]
    finally:
        for run in runs:  # one that failed leaves the other waiting
            run.kill()
    assert [run.returncode for run in runs] == [0, 0], "\n".join(errors)[-3000:]
    loaded: dict[str, Tensor] = torch.load(file)
    return loaded


@pytest.fixture(scope="module")
def of_one() -> dict[str, Tensor]:
    return results() | batch_statistics()


def test_calibration_on_two_halves_is_calibration_on_the_whole(
    of_one: dict[str, Tensor], of_two: dict[str, Tensor]
) -> None:
    names = [name for name in of_one if name.startswith(("mse ", "min_max "))]
    assert len(names) > 10
    for name in names:
        torch.testing.assert_close(of_two[name], of_one[name], rtol=1e-6, atol=0, msg=name)


def test_training_on_two_halves_is_training_on_the_whole(of_one: dict[str, Tensor], of_two: dict[str, Tensor]) -> None:
    assert of_one.keys() == of_two.keys()
    torch.testing.assert_close(of_two["losses"], of_one["losses"], rtol=1e-4, atol=0)
    for name in (name for name in of_one if name.startswith("trained ")):
        size = float(of_one[name].float().abs().max()) + 1e-12
        assert float((of_two[name].float() - of_one[name].float()).abs().max()) < 2e-3 * size, name


def test_batch_statistics_and_moving_ranges_are_those_of_the_whole_batch(
    of_one: dict[str, Tensor], of_two: dict[str, Tensor]
) -> None:
    for name in (name for name in of_one if name.startswith("normed ")):
        size = float(of_one[name].float().abs().max()) + 1e-12
        assert float((of_two[name].float() - of_one[name].float()).abs().max()) < 5e-3 * size, name


@pytest.mark.parametrize("observer", ["min_max", "percentile", "mse", "sqnr", "entropy"])
def test_merged_observers_are_one_that_saw_everything(observer: str) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(500, generator=generator) * factor for factor in (0.1, 5.0, 1.0)]
    whole, *pieces = (make_observer(observer, Grid(8)) for _ in range(4))
    for part, piece in zip(parts, pieces):
        whole.update(part)
        piece.update(part)
    empty = make_observer(observer, Grid(8))
    pieces[0].merge([piece.state() for piece in (*pieces, empty)])
    assert pieces[0].encoding().same_as(whole.encoding())


def test_merged_moving_averages_are_their_mean() -> None:
    low, high = (make_observer("moving_average", Grid(8)) for _ in range(2))
    low.update(torch.tensor([-1.0, 1.0]))
    high.update(torch.tensor([-3.0, 2.0]))
    low.merge([low.state(), high.state()])
    assert low.state()["range"].tolist() == [-2.0, 1.5]


def test_strategies_that_split_parameters_are_refused() -> None:
    sharded = SimpleNamespace(distributed_type=SimpleNamespace(value="FSDP"), mixed_precision="no")
    with pytest.raises(InputError, match="FSDP splits each parameter"):
        check_accelerator(sharded)
    half = SimpleNamespace(distributed_type=SimpleNamespace(value="NO"), mixed_precision="fp16")
    with pytest.raises(InputError, match="bf16"):
        check_accelerator(half)


def test_one_process_takes_the_whole_batch() -> None:
    assert part_of(7) == (slice(0, 7), 1.0)
