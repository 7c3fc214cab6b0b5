"""Fourier transforms. Complex values are held as a last axis of size 2."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ir.executor.ops.host import IntList, Number, number


def stft(
    signal: Tensor,
    frame_step: Number | IntList,
    window: Tensor | None = None,
    frame_length: Number | IntList | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """signal (B, L) or (B, L, 1) -> (B, frames, bins, 2)."""
    samples = signal.squeeze(-1) if signal.dim() == 3 else signal
    length = window.numel() if window is not None else int(number(frame_length))  # type: ignore[arg-type]
    frames = samples.unfold(-1, length, int(number(frame_step)))  # type: ignore[arg-type]
    frames = frames if window is None else frames * window
    return torch.view_as_real(torch.fft.rfft(frames) if onesided else torch.fft.fft(frames))


def dft(
    x: Tensor,
    length: Number | IntList | None = None,
    axis: Number | IntList | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    """Transform of x (..., 1 real or 2 complex) along ``axis`` (default: the last signal axis)."""
    dim = -2 if axis is None else int(number(axis))  # type: ignore[arg-type]
    dim = dim if dim >= 0 else dim + x.dim()
    count = None if length is None else int(number(length))  # type: ignore[arg-type]
    signal = x[..., 0] if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())
    if onesided and not inverse:
        return torch.view_as_real(torch.fft.rfft(signal, count, dim))
    y = torch.fft.ifft(signal, count, dim) if inverse else torch.fft.fft(signal, count, dim)
    return torch.view_as_real(y)
