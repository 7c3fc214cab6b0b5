"""Small convolutional networks, each around one construct that real ones use."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, **options: int) -> nn.Sequential:
    """Convolution that keeps the size (or divides it by ``stride``), with BatchNorm and without bias."""
    padding = options.get("dilation", 1) * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False, **options)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Head(nn.Module):
    """Global average pooling and a linear classifier."""

    def __init__(self, channels: int, classes: int = 10) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.mean((2, 3)))


def conv1d() -> nn.Module:
    """1-D convolutions with BatchNorm and pooling over a signal of 4 channels."""
    return nn.Sequential(
        nn.Conv1d(4, 16, 5, padding=2, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 6),
    )


def transposed() -> nn.Module:
    """An encoder and a decoder of transposed convolutions, one with BatchNorm, one with overlapping kernels."""
    return nn.Sequential(
        *conv_bn(3, 16, stride=2),
        nn.ReLU(),
        *conv_bn(16, 32, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 2, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
    )


class Grouped(nn.Module):
    """Grouped convolutions with a channel shuffle between them (ShuffleNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.first = conv_bn(16, 32, groups=4)
        self.second = conv_bn(32, 32, groups=8)
        self.head = Head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(torch.relu(self.stem(x))))
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 4, channels // 4, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return self.head(torch.relu(self.second(x)))


def dilated() -> nn.Module:
    """Convolutions with dilation 2 and 4, whose output keeps the size (segmentation)."""
    return nn.Sequential(
        *conv_bn(3, 16),
        nn.ReLU(),
        *conv_bn(16, 16, dilation=2),
        nn.ReLU(),
        *conv_bn(16, 16, dilation=4),
        nn.ReLU(),
        nn.Conv2d(16, 4, 1),
    )


class Resize(nn.Module):
    """Nearest and bilinear upsampling joined to a skip connection (U-Net, feature pyramids)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = conv_bn(3, 16, stride=2)
        self.deep = conv_bn(16, 16, stride=2)
        self.lateral = nn.Conv2d(16, 16, 1)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = torch.relu(self.down(x))
        deep = nn.functional.interpolate(torch.relu(self.deep(shallow)), scale_factor=2.0, mode="nearest")
        joined = self.lateral(shallow) + deep
        size = x.shape[2:]
        return self.out(nn.functional.interpolate(joined, size=size, mode="bilinear", align_corners=False))


class ConcatSplit(nn.Module):
    """Channels split, half of them processed, and concatenated again (CSP, ShuffleNetV2)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 32)
        self.branch = conv_bn(16, 16)
        self.merge = conv_bn(48, 32, kernel=1)
        self.head = Head(32)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = torch.relu(self.stem(x)).chunk(2, dim=1)
        once = torch.relu(self.branch(worked))
        return self.head(torch.relu(self.merge(torch.cat([kept, worked, once], dim=1))))


def prelu() -> nn.Module:
    """PReLU with one slope per channel and with a single slope."""
    return nn.Sequential(*conv_bn(3, 16), nn.PReLU(16, init=0.2), *conv_bn(16, 16), nn.PReLU(init=0.1), Head(16))


def silu() -> nn.Module:
    """SiLU after convolutions (YOLOv5 and later, EfficientNet)."""
    return nn.Sequential(*conv_bn(3, 16, stride=2), nn.SiLU(), *conv_bn(16, 32), nn.SiLU(), Head(32))


class SeparableBlock(nn.Module):
    """Inverted residual: expand, depthwise, project, add; ReLU6 between (MobileNetV2)."""

    def __init__(self, channels: int, expansion: int = 3) -> None:
        super().__init__()
        wide = channels * expansion
        self.layers = nn.Sequential(
            *conv_bn(channels, wide, kernel=1),
            nn.ReLU6(),
            *conv_bn(wide, wide, groups=wide),
            nn.ReLU6(),
            *conv_bn(wide, channels, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def separable() -> nn.Module:
    """Depthwise separable convolutions with ReLU6 and a residual sum."""
    return nn.Sequential(*conv_bn(3, 16, stride=2), nn.ReLU6(), SeparableBlock(16), SeparableBlock(16), Head(16))


def instance_and_group_norm() -> nn.Module:
    """InstanceNorm and GroupNorm, which cannot be folded into the convolution before them."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.InstanceNorm2d(16, affine=True),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        Head(16),
    )


class SqueezeExcite(nn.Module):
    """Hard-swish with a squeeze-and-excite gate of hard-sigmoid (MobileNetV3)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 32, stride=2)
        self.squeeze = nn.Conv2d(32, 8, 1)
        self.excite = nn.Conv2d(8, 32, 1)
        self.head = Head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.stem(x))
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        gate = nn.functional.hardsigmoid(self.excite(torch.relu(self.squeeze(pooled))))
        return self.head(x * gate)


class TwoByTwo(nn.Module):
    """Two inputs, the second passed by keyword, and two outputs of different meaning and size."""

    def __init__(self) -> None:
        super().__init__()
        self.image = conv_bn(3, 16, stride=2)
        self.table = nn.Linear(6, 16)
        self.classifier = nn.Linear(16, 10)
        self.box = nn.Linear(16, 4)

    def forward(self, image: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.relu(self.image(image)).mean((2, 3)) + torch.relu(self.table(features))
        return self.classifier(joined), torch.sigmoid(self.box(joined))
