"""The model in loops that are not ours: it is an nn.Module, with optimizer groups, a state dict and gradients.

torch.compile has a file of its own.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from hexaquant.folder.artifacts import Model
from hexaquant.qat.learn import freeze_encodings, learn_encodings
from qat.normed import images, ptq

X = images(48, 1)
Y = torch.arange(48) % 5


@pytest.fixture(scope="module")
def quantized() -> Model:
    return ptq("w4a8")


@pytest.fixture
def model(quantized: Model) -> Model:
    model = copy.deepcopy(quantized)
    learn_encodings(model)
    return model


def optimizer_of(model: Model) -> torch.optim.Optimizer:
    groups = [
        {"params": model.weight_parameters(), "lr": 3e-3},
        {"params": model.encoding_parameters(), "lr": 1e-3, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 8, **autocast: Any) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", **({"enabled": False} | autocast)):
            loss = functional.cross_entropy(model(X).float(), Y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_a_loop_of_the_users_own_with_groups_and_a_scheduler(model: Model) -> None:
    optimizer = optimizer_of(model)
    every = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in model.parameters()} == every
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    losses = train(model, optimizer, 4)
    scheduler.step()
    assert losses[-1] < losses[0]
    before = model.encodings()
    freeze_encodings(model)
    assert all(encoding.same_as(before[name]) for name, encoding in model.encodings().items())


def test_state_dict_round_trip_has_the_modules_own_names(model: Model, quantized: Model, tmp_path: Path) -> None:
    train(model, optimizer_of(model), 2)
    assert {"conv1.weight", "conv1.bias", "head.weight"} <= set(model.state_dict())
    torch.save(model.state_dict(), tmp_path / "state.pt")
    twin = copy.deepcopy(quantized)
    learn_encodings(twin)
    twin.load_state_dict(torch.load(tmp_path / "state.pt"))
    with torch.no_grad():
        assert torch.equal(twin(X), model(X))


def test_bfloat16_autocast_trains_encodings_in_float32(model: Model) -> None:
    losses = train(model, optimizer_of(model), dtype=torch.bfloat16, enabled=True)
    assert losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_gradient_checkpointing_gives_the_same_gradients(model: Model) -> None:
    twin = copy.deepcopy(model)
    functional.cross_entropy(model(X), Y).backward()
    functional.cross_entropy(checkpoint(twin, X, use_reentrant=False), Y).backward()
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert own.grad is not None and other.grad is not None
        torch.testing.assert_close(own.grad, other.grad)


def test_lightning_trains_it(model: Model, tmp_path: Path) -> None:
    import lightning

    class Task(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(model)

    with torch.no_grad():
        before = float(functional.cross_entropy(model(X), Y))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=4, default_root_dir=tmp_path, **quiet)
    trainer.fit(Task(), DataLoader(TensorDataset(X, Y), 16))
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    with torch.no_grad():
        after = float(functional.cross_entropy(model(X), Y))
    assert after < before
    kept = torch.load(tmp_path / "task.ckpt", weights_only=False)["state_dict"]
    assert torch.equal(kept["network.conv1.weight"], model.state_dict()["conv1.weight"])


def test_hugging_face_trainer_trains_it(model: Model, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    class Task(nn.Module):
        """What the Trainer asks of a model: keyword arguments in, a dictionary with the loss out."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.network(x)
            return {"loss": functional.cross_entropy(logits, labels), "logits": logits}

    with torch.no_grad():
        before = float(functional.cross_entropy(model(X), Y))
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=8, per_device_train_batch_size=16, report_to=[], save_strategy="no", use_cpu=True
    )
    task = Task()
    Trainer(task, arguments, train_dataset=rows, optimizers=(optimizer_of(model), None)).train()
    with torch.no_grad():
        assert float(functional.cross_entropy(model(X), Y)) < before
    freeze_encodings(model)
    assert model.encoding_parameters() == []
