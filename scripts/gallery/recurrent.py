"""Recurrent networks beside onnxruntime's own QNN recipe, each with ONE command, as in packages.py.

Three come from packages (dnsmos and plcmos of speechmos, hey_mycroft of openwakeword), three are made here by PyTorch
with random weights: three LSTM layers over 160 steps, a GRU both ways, a streaming LSTM with its state in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery import samples as make
from gallery.packages import MODELS, Folders, Network, embeddings, run_networks
from gallery.samples import Samples

SPEECH = "speechmos"
DNSMOS_SAMPLES = 144160
PLCMOS_FRAMES = 250
FEATURES = 40


def run(names: Sequence[str], out: Path, measure: bool = False) -> None:
    """All networks, or those whose name contains one of ``names``."""
    run_networks(NETWORKS, "recurrent", names, out)


def _dnsmos(folders: Folders, count: int, seed: int) -> Samples:
    seconds = DNSMOS_SAMPLES / make.RATE
    return {"input_1": np.stack([make.speech(seconds, 100 * seed + i)[None] for i in range(count)])}


def _plcmos(folders: Folders, count: int, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    heard = [_log_power(make.speech(4.1, 100 * seed + i))[:PLCMOS_FRAMES] for i in range(count)]
    raters = rng.standard_normal((count, 1, 64)).astype(np.float32)
    return {"degraded_audio": np.stack(heard)[:, None, None], "rater_embed": raters}


def _log_power(audio: np.ndarray) -> np.ndarray:
    """Frames of 512 samples, half overlapping, in a Hamming window: log of the power, as speechmos scales it."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, 256), 512)[::256]
    power = np.abs(np.fft.rfft(frames * np.hamming(513)[:-1])) ** 2
    return (np.log(np.maximum(power, 1e-12)) / 20).astype(np.float32)


def _mycroft(folders: Folders, count: int, seed: int) -> Samples:
    return {"input_1": embeddings(folders, count, seed)["x.1"]}


def _frames(steps: int) -> Any:
    def data(folders: Folders, count: int, seed: int) -> Samples:
        return {"x": np.random.default_rng(seed).standard_normal((count, 1, steps, FEATURES)).astype(np.float32)}

    return data


def _made(kind: str, layers: int, hidden: int, steps: int, **options: bool) -> Callable[[Path], None]:
    """Writes a recurrent module with random weights and a Linear; with ``state`` h and c are inputs and outputs."""

    def write(file: Path) -> None:
        import torch
        from torch import nn

        class Tagger(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                both = options.get("bidirectional", False)
                self.layer = getattr(nn, kind)(FEATURES, hidden, layers, batch_first=True, bidirectional=both)
                self.head = nn.Linear(2 * hidden if both else hidden, 10)

            def forward(self, x: torch.Tensor, *state: torch.Tensor) -> Any:
                y, after = self.layer(x, state) if state else self.layer(x)
                return (self.head(y), *after) if state else self.head(y)

        torch.manual_seed(0)
        state = [torch.zeros(layers, 1, hidden)] * 2 if options.get("state") else []
        inputs, outputs = (["x", "h", "c"], ["y", "hn", "cn"]) if state else (["x"], ["y"])
        example = (torch.randn(1, steps, FEATURES), *state)
        names = {"input_names": inputs, "output_names": outputs}
        torch.onnx.export(Tagger().eval(), example, str(file), **names, dynamo=False)  # type: ignore[arg-type]

    return write


NETWORKS = (
    Network("dnsmos sig_bak_ovr", SPEECH, "speechmos/dnsmos_models/sig_bak_ovr.onnx", _dnsmos),
    Network(
        "plcmos",
        SPEECH,
        "speechmos/plcmos_models/plcmos_v2.onnx",
        _plcmos,
        ("--shape", f"degraded_audio=1,1,{PLCMOS_FRAMES},257", "--shape", "rater_embed=1,64"),
    ),
    Network("openwakeword hey_mycroft", "openwakeword==0.4.0", f"{MODELS}/hey_mycroft_v0.1.onnx", _mycroft),
    Network("LSTM of 3 layers", "", "lstm3.onnx", _frames(160), write=_made("LSTM", 3, 256, 160)),
    Network("GRU both ways", "", "gru.onnx", _frames(64), write=_made("GRU", 1, 64, 64, bidirectional=True)),
    Network(
        "streaming LSTM",
        "",
        "stream.onnx",
        _frames(1),
        ("--state", "h=hn", "--state", "c=cn"),
        write=_made("LSTM", 1, 128, 1, state=True),
    ),
)
