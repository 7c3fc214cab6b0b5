"""Small networks of signals and words from the papers of three architectures (beside those of ``architectures``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TemporalBlock(nn.Module):
    """Two dilated causal convolutions (padded on the left only) and a residual (Bai et al., 2018)."""

    def __init__(self, inputs: int, outputs: int, dilation: int, kernel: int = 3) -> None:
        super().__init__()
        self.left = (kernel - 1) * dilation
        self.conv1 = nn.utils.parametrizations.weight_norm(nn.Conv1d(inputs, outputs, kernel, dilation=dilation))
        self.conv2 = nn.utils.parametrizations.weight_norm(nn.Conv1d(outputs, outputs, kernel, dilation=dilation))
        self.match = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv1(F.pad(x, (self.left, 0))))
        y = torch.relu(self.conv2(F.pad(y, (self.left, 0))))
        return torch.relu(y + self.match(x))


class TemporalConvNet(nn.Module):
    """Dilations 1, 2, 4 over (N, 6, 48); a prediction at every step and one of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(TemporalBlock(6, 24, 1), TemporalBlock(24, 24, 2), TemporalBlock(24, 32, 4))
        self.every_step = nn.Conv1d(32, 2, 1)
        self.last_step = nn.Linear(32, 3)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(signal)
        return self.every_step(x), self.last_step(x[:, :, -1])


class GruTagger(nn.Module):
    """Embedding, bidirectional GRU, a tag for every token."""

    def __init__(self, vocabulary: int = 100, width: int = 24, hidden: int = 32, tags: int = 7) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(2 * hidden, tags)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.gru(self.embedding(ids))
        return self.tags(states)


class BroadcastResidual(nn.Module):
    """Frequency-depthwise convolution, mean over frequency, temporal part broadcast back (Kim et al., 2021)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.frequency = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels, bias=False)
        self.frequency_norm = nn.BatchNorm2d(channels)
        self.temporal = nn.Conv2d(
            channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=channels, bias=False
        )
        self.temporal_norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.frequency_norm(self.frequency(x))
        narrow = self.temporal_norm(self.temporal(wide.mean(2, keepdim=True)))
        return torch.relu(x + wide + self.pointwise(F.silu(narrow)))


def keyword_spotter() -> nn.Module:
    """Spectrogram 1x40x98 to 12 words: strided stem, depthwise separable layer, two broadcast residual blocks."""
    return nn.Sequential(
        nn.Conv2d(1, 24, (10, 4), stride=(2, 2), padding=(5, 1), bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, stride=(2, 1), padding=1, groups=24, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 32, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        BroadcastResidual(32, 1),
        BroadcastResidual(32, 2),
        nn.AvgPool2d((2, 3), stride=(2, 3), ceil_mode=True),
        nn.Conv2d(32, 12, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LogSoftmax(dim=1),
    )
