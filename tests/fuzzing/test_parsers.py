"""Every parser of outside files: legal seeds are read, and seeded variations end in a result or a HexaquantError.

The same targets run for longer with coverage as the guide: scripts/fuzz_parsers.py.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fuzzing.targets import FuzzTarget, targets

TARGETS = targets()
VARIATIONS = 60


@pytest.fixture(params=sorted(TARGETS))
def target(request: pytest.FixtureRequest) -> FuzzTarget:
    return TARGETS[request.param]


def test_legal_files_are_read(target: FuzzTarget, tmp_path: Path) -> None:
    for seed in target.seeds:
        path = tmp_path / target.file
        path.write_bytes(seed)
        target.read(path)


def test_variations_are_read_or_refused(target: FuzzTarget, tmp_path: Path) -> None:
    changed = 0
    for number in range(VARIATIONS):
        random = Random(number)
        data = target.vary(random.choice(target.seeds), random)
        changed += data not in target.seeds
        target.feed(data, tmp_path)
    assert changed > VARIATIONS // 2
