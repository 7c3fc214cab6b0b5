"""ResNet18- and MobileNetV2-shaped networks with random weights and sensible BatchNorm statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.down = None
        if stride != 1 or inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.down is None else self.down(x)))


def resnet18(classes: int = 1000) -> nn.Module:
    """He et al., "Deep Residual Learning", CVPR 2016."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    width = 64
    for outputs, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        layers.append(_Basic(width, outputs, stride))
        width = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(width, classes)]
    return nn.Sequential(*layers)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    padding = kernel // 2
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if act else nn.Sequential(*layers)


class _Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        parts = [_conv(inputs, hidden, 1)] if expand > 1 else []
        parts += [_conv(hidden, hidden, 3, stride, hidden), _conv(hidden, outputs, 1, act=False)]
        self.body = nn.Sequential(*parts)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2(classes: int = 1000) -> nn.Module:
    """Sandler et al., "MobileNetV2", CVPR 2018."""
    layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
    width = 32
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expand, outputs, repeats, stride in stages:
        for i in range(repeats):
            layers.append(_Inverted(width, outputs, stride if i == 0 else 1, expand))
            width = outputs
    layers += [_conv(width, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(1280, classes)]
    return nn.Sequential(*layers)


def conv_stack(depth: int = 29, channels: int = 64) -> nn.Module:
    """``depth`` 3x3 convolutions with ReLU: the network on which users see the error grow with depth."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(3 if i == 0 else channels, channels, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def settle_statistics(model: nn.Module, x: Tensor, rounds: int = 4) -> nn.Module:
    """Run ``x`` through in training mode so that BatchNorm has real statistics; returns ``model`` in eval mode."""
    model.train()
    with torch.no_grad():
        for _ in range(rounds):
            model(x)
    return model.eval()
