"""Small networks over sequences and tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LstmClassifier(nn.Module):
    """An LSTM over feature frames; its last step is classified."""

    def __init__(self, features: int = 8, hidden: int = 24) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, 5)

    def forward(self, frames: Tensor) -> Tensor:
        steps, _ = self.lstm(frames)
        return self.classifier(steps[:, -1])


class Attention(nn.Module):
    """Multi-head self-attention written out: projections, scaled scores, softmax, weighted sum, residual."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to (batch, heads, tokens, width / heads)."""
        batch, tokens, width = x.shape
        return x.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        mixed = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(x.shape)
        return x + self.out(mixed)


class AttentionClassifier(nn.Module):
    """One attention block over eight tokens and a classifier of their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.classifier = nn.Linear(32, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.classifier(self.attention(tokens).mean(1))


class NormMlp(nn.Module):
    """Two pre-norm feed-forward blocks: LayerNorm, Linear, GELU, Linear, residual."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(2)
        )
        self.classifier = nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.classifier(x)


class TokenClassifier(nn.Module):
    """Token and position embeddings, a LayerNorm and a classifier of the mean."""

    def __init__(self, vocabulary: int = 64, length: int = 12, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.5 * torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions)
        return self.classifier(torch.relu(self.hidden(x)).mean(1))
