"""The demo's network: the constructs of mobile CNNs in a size that trains on two CPU cores in about a minute."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """Convolution (size kept, or halved by stride 2), BatchNorm and, unless ``activate`` is off, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            *([nn.ReLU6()] if activate else []),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input, then ReLU6 (ResNet, arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, activate=False)
        self.activation = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.second(self.first(x)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel (depthwise), project without activation, add (MobileNetV2, arXiv 1801.04381)."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = ConvNorm(channels, wide, kernel=1)
        self.depthwise = ConvNorm(wide, wide, groups=wide)
        self.project = ConvNorm(wide, channels, kernel=1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.depthwise(self.expand(x)))


class DemoNet(nn.Module):
    """Ten logits (N, 10) of grey images (N, 1, 28, 28), float32; 108,626 parameters, 5.5 million MACs an image."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 8)
        self.down1 = ConvNorm(8, 24, stride=2)
        self.down2 = ConvNorm(24, 64, stride=2)
        self.residual = Residual(64)
        self.inverted = InvertedResidual(64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.down2(self.down1(self.stem(image)))
        x = self.inverted(self.residual(x))
        return self.classifier(self.pool(x).flatten(1))
