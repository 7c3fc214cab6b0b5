"""One tiny network, deployed once a session."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from cli.command import hexaquant
from cli.tiny import labels, samples, save_data, tiny_model


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with net.onnx, data.npz (labelled by the network itself) and deployed/."""
    folder = tmp_path_factory.mktemp("cli")
    model = tiny_model()
    onnx.save(model, folder / "net.onnx")
    save_data(folder / "data.npz", labels=labels(model, samples(10)))
    done = hexaquant("deploy", folder / "net.onnx", "--data", folder / "data.npz", "-o", folder / "deployed")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def net(room: Path) -> Path:
    return room / "net.onnx"


@pytest.fixture
def data(room: Path) -> Path:
    return room / "data.npz"


@pytest.fixture
def deployed(room: Path, tmp_path: Path) -> Path:
    """A copy of the deployed folder that the test may change."""
    return Path(shutil.copytree(room / "deployed", tmp_path / "deployed"))
