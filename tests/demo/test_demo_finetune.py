"""The demo's training draws the quantized network towards FP32 on images it never saw."""

from __future__ import annotations

import numpy as np
import torch

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db
from hexaquant.demo import data
from hexaquant.demo.finetune import BATCH, RATE, ShuffledImages
from hexaquant.demo.train import TrainConfig, logits, train


def test_each_pass_has_every_image_once_in_a_new_order() -> None:
    images, _ = data.load_train()
    batches = ShuffledImages(images[:256], "image")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = (np.concatenate([batch["image"] for batch in batches]) for _ in range(2))
        torch.manual_seed(0)
        again = np.concatenate([batch["image"] for batch in batches])
    assert len(batches) == 256 // BATCH
    assert first.shape == (256, 1, 28, 28)
    assert not np.array_equal(first, second) and np.array_equal(first, again)
    assert np.allclose(first.sum(), data.normalized(images[:256]).sum(), rtol=1e-4)


def divergence(reference: np.ndarray, outputs: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the classes' probabilities, in nats: what the training minimizes."""
    p, q = (torch.log_softmax(torch.from_numpy(logits), dim=1) for logits in (reference, outputs))
    return float((p.exp() * (p - q)).sum(dim=1).mean())


def test_training_w4a8_beats_ptq_on_test_images() -> None:
    """The divergence falls by a quarter at least (measured: by 40 to 50 % under each instruction set).

    The class is the same on 98.6 % of the images before as after: those that change are ties of a network that was
    trained for seconds, and which of them fall to which side is chance. So no loss of agreement is stated as it can be
    known: of n images that change sides, those lost exceed those won by less than 3 sqrt(n), three deviations of a
    fair coin.
    """
    net = train(TrainConfig(epochs=1, samples=1920, peak_rate=5e-3, threads=1))
    images = data.load_train()[0]
    test = data.normalized(data.load_test()[0][:4000])
    graph = hq.load(net, example_inputs=(torch.from_numpy(test[:2]),))
    name = graph.inputs[0].name or ""
    model = hq.quantize(graph, {name: data.normalized(images[:128])}, scheme="w4a8")
    reference, before = logits(net, test), logits(model, test)
    hq.finetune(
        model, ShuffledImages(images[:3840], name), loss="kl", steps=60, batch_size=BATCH, lr=RATE, encoding_lr=RATE
    )
    after = logits(model, test)
    agreed, agrees = (x.argmax(1) == reference.argmax(1) for x in (before, after))
    lost, won = int((agreed & ~agrees).sum()), int((agrees & ~agreed).sum())
    assert lost - won <= 3 * np.sqrt(lost + won)
    assert agrees.mean() > 0.97
    assert divergence(reference, after) < 0.75 * divergence(reference, before)
    assert sqnr_db(reference, after) > sqnr_db(reference, before) + 0.5
