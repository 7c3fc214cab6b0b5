"""What each of several processes runs in test_ranks.py: quantize on its part of the data, train, save the result.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python one_of_several.py FILE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import hexaquant as hq
from hexaquant.core import ranks
from hexaquant.qat.devices import accelerator_from_launch, part_of
from qat.normed import images
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import quantized

OPTIONS: dict[str, Any] = {"steps": 6, "batch_size": 10, "ema": 0.9, "lr": 3e-3, "features": ("?r",), "dampening": 0.1}


def data() -> list[Tensor]:
    """5 batches; 45 samples do not divide evenly into batches of 10 over two processes."""
    return list(torch.from_numpy(smooth_images(45, 50)).split(9))


def results(accelerator: Any = None) -> dict[str, Tensor]:
    """Calibrated encodings and trained state, by name."""
    mine = [{"x": batch[part_of(len(batch))[0]].numpy()} for batch in data()]
    graph, found = rescaled_net(1.0), {}
    for observer in ("mse", "min_max"):
        model = quantized(graph, data=mine, observer=observer)
        found |= {f"{observer} {name}": encoding.scale.clone() for name, encoding in model.encodings().items()}
    done = hq.finetune(model, data(), reference=graph, accelerator=accelerator, **OPTIONS)
    found |= {f"trained {name}": t.detach().clone() for name, t in model.state_dict().items() if t.numel()}
    return found | {"losses": torch.tensor(done.losses)}


def batch_statistics(accelerator: Any = None) -> dict[str, Tensor]:
    """Trained state of a network whose BatchNorms were put back."""
    from qat.normed import ptq

    model = ptq()
    hq.finetune(model, images(44, 3), accelerator=accelerator, batchnorm="batch", mode="ema", steps=4, batch_size=11)
    return {f"normed {name}": t.detach().clone() for name, t in model.state_dict().items() if t.numel()}


def main(file: Path) -> None:
    accelerator = accelerator_from_launch()
    found = results(accelerator) | batch_statistics(accelerator)
    everywhere = ranks.gathered({name: float(t.double().sum()) for name, t in found.items()})
    assert all(other == everywhere[0] for other in everywhere), "the processes ended with different models"
    if ranks.rank() == 0:
        torch.save(found, file)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
