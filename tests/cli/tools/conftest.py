"""The deployed tiny network with raw files and an input list for Qualcomm's programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.tiny import samples


@pytest.fixture(scope="session")
def dlc(room: Path) -> Path:
    return room / "deployed" / "model.dlc"


@pytest.fixture(scope="session")
def binary(room: Path) -> Path:
    return room / "deployed" / "model.sm8650.bin"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Three inferences: named, bare, named."""
    for index, sample in enumerate(samples(3)):
        sample.tofile(tmp_path / f"x{index}.raw")
    file = tmp_path / "input_list.txt"
    file.write_text("x:=x0.raw\nx1.raw\n\nx:=x2.raw\n")
    return file
