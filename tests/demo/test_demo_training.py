"""The demo's network learns, the same way each time, and is trained only once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hexaquant.core.events import Event, Events
from hexaquant.demo import data
from hexaquant.demo.network import DemoNet
from hexaquant.demo.train import TrainConfig, logits, train, trained_network

SHORT = TrainConfig(epochs=2, samples=960, peak_rate=5e-3, threads=1)


def test_the_network_has_the_constructs_of_mobile_cnns() -> None:
    net = DemoNet()
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert any(conv.groups == conv.in_channels > 1 for conv in convolutions)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    assert any(isinstance(layer, nn.ReLU6) for layer in net.modules())
    assert sum(p.numel() for p in net.parameters()) == 108_626


def test_a_short_training_already_beats_guessing_and_leaves_the_mode_on_eval() -> None:
    net = train(SHORT)
    images, labels = data.load_test()
    right = logits(net, data.normalized(images[:500])).argmax(1) == labels[:500]
    assert right.mean() > 0.4
    assert not net.training


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    config = TrainConfig(epochs=1, samples=192, threads=1)
    first, again, other = train(config), train(config), train(TrainConfig(seed=1, epochs=1, samples=192, threads=1))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_training_leaves_the_callers_random_state_and_threads_alone() -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(TrainConfig(epochs=1, samples=128, threads=threads + 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_progress_counts_every_step() -> None:
    seen: list[Event] = []
    train(TrainConfig(epochs=2, samples=192, threads=1), Events(seen.append))
    progress = [event for event in seen if event.kind == "progress"]
    assert [event.done for event in progress] == [1, 2, 3, 4, 5, 6]
    assert all(event.total == 6 for event in progress)
    assert seen[0].kind == "start" and seen[-1].kind == "end"


def test_stored_weights_are_used_again_only_for_the_same_config(tmp_path: Path) -> None:
    path, config = tmp_path / "weights.safetensors", TrainConfig(epochs=1, samples=128, threads=1)
    first = trained_network(path, config)
    seen: list[Event] = []
    loaded = trained_network(path, config, Events(seen.append))
    assert [event.kind for event in seen] == ["note"]
    for name, value in first.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    trained_network(path, TrainConfig(epochs=1, samples=192, threads=1), Events(seen.append))
    assert any(event.kind == "progress" for event in seen)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_weights_file_is_trained_anew(tmp_path: Path, content: bytes) -> None:
    path, config = tmp_path / "weights.safetensors", TrainConfig(epochs=1, samples=128, threads=1)
    path.write_bytes(content)
    trained_network(path, config)
    seen: list[Event] = []
    trained_network(path, config, Events(seen.append))
    assert [event.kind for event in seen] == ["note"]
