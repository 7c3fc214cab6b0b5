"""The generators that data loading draws from: torch, numpy, Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int, epoch: int) -> None:
    """Seed the global generators for one epoch of a run."""
    number = seed * 1_000_003 + epoch
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


@contextmanager
def put_back_afterwards() -> Iterator[None]:
    """After the block the global generators are where they were before it."""
    python = random.getstate()
    numpy = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
