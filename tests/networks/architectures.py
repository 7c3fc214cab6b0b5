"""Seven small networks of images written from the papers of seven architectures, with the parts that make each what it
is; three more, of signals and words, are in ``signals``.

They were written before the tool was tried on any of them; ``ARCHITECTURES`` in ``networks`` lists them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvSilu(nn.Sequential):
    """Convolution, BatchNorm, SiLU (YOLOv5 and later)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.SiLU())


class CrossStage(nn.Module):
    """Half of the channels go through residual bottlenecks, then both halves are merged (CSPNet, C3 block)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.left = ConvSilu(channels, half, 1)
        self.right = ConvSilu(channels, half, 1)
        self.bottleneck = nn.Sequential(ConvSilu(half, half, 1), ConvSilu(half, half, 3))
        self.merge = ConvSilu(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        return self.merge(torch.cat([left + self.bottleneck(left), self.right(x)], dim=1))


class Yolo(nn.Module):
    """Pyramid with top-down upsampling and bottom-up strides; three maps of boxes, objectness and classes."""

    def __init__(self, anchors: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.stem = ConvSilu(3, 8, 3, 2)
        self.stages = nn.ModuleList(nn.Sequential(ConvSilu(c, 2 * c, 3, 2), CrossStage(2 * c)) for c in (8, 16, 32))
        self.reduce = nn.ModuleList([ConvSilu(64, 32, 1), ConvSilu(32, 16, 1)])
        self.top_down = nn.ModuleList([CrossStage(64), CrossStage(32)])
        self.lateral = ConvSilu(64, 16, 1)
        self.bottom_up = ConvSilu(32, 32, 3, 2)
        self.heads = nn.ModuleList(nn.Conv2d(c, anchors * (5 + classes), 1) for c in (32, 48, 64))
        self.anchors = anchors

    def _head(self, level: int, x: Tensor) -> Tensor:
        """(N, anchors, H, W, 5 + classes): sigmoid of everything, as the decoding begins."""
        raw = self.heads[level](x)
        batch, channels, height, width = raw.shape
        maps = raw.view(batch, self.anchors, channels // self.anchors, height, width)
        return maps.permute(0, 1, 3, 4, 2).contiguous().sigmoid()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stages[0](self.stem(image))
        middle = self.stages[1](fine)
        coarse = self.stages[2](middle)
        up = F.interpolate(self.reduce[0](coarse), scale_factor=2, mode="nearest")
        middle = self.top_down[0](torch.cat([up, middle], dim=1))
        up = F.interpolate(self.reduce[1](middle[:, ::2]), scale_factor=2, mode="nearest")
        fine = self.top_down[1](torch.cat([up, fine], dim=1))
        down = torch.cat([self.bottom_up(fine), self.lateral(middle)], dim=1)
        return self._head(0, fine), self._head(1, down), self._head(2, coarse)


class DoubleConv(nn.Sequential):
    """Twice convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """Contracting and expanding path with skip concatenations (Ronneberger et al., 2015); a mask of two classes."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList([DoubleConv(1, w), DoubleConv(w, 2 * w), DoubleConv(2 * w, 4 * w)])
        self.bottom = DoubleConv(4 * w, 8 * w)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in (4 * w, 2 * w, w))
        self.merge = nn.ModuleList(DoubleConv(2 * c, c) for c in (4 * w, 2 * w, w))
        self.mask = nn.Conv2d(w, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return self.mask(x)


class DenseLayer(nn.Module):
    """BatchNorm and ReLU before the 1x1 and the 3x3 convolution; the result is appended to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(4 * growth)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(new)))], dim=1)


def dense_net(growth: int = 8) -> nn.Module:
    """Two dense blocks of three layers and a transition between them (Huang et al., 2017)."""

    def block(inputs: int) -> list[nn.Module]:
        return [DenseLayer(inputs + i * growth, growth) for i in range(3)]

    return nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        *block(16),
        nn.BatchNorm2d(40),
        nn.ReLU(),
        nn.Conv2d(40, 20, 1, bias=False),
        nn.AvgPool2d(2),
        *block(20),
        nn.BatchNorm2d(44),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(44, 10),
    )


class SqueezeGate(nn.Module):
    """Channel gate: pooled, reduced, ReLU, expanded, hard sigmoid (MobileNetV3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // 4, 1)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.fc2(torch.relu(self.fc1(self.pool(x))))) * x


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-excite, project; a sum where the shapes agree."""

    def __init__(self, inputs: int, wide: int, outputs: int, kernel: int, stride: int, hard: bool) -> None:
        super().__init__()

        def activation() -> nn.Module:
            return nn.Hardswish() if hard else nn.ReLU()

        self.block = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide, eps=1e-3),
            activation(),
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide, eps=1e-3),
            activation(),
            SqueezeGate(wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


def mobilenet_v3() -> nn.Module:
    """Hard-swish stem, three inverted residuals with squeeze-excite, and the hard-swish head (Howard et al., 2019)."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16, eps=1e-3),
        nn.Hardswish(),
        InvertedResidual(16, 32, 24, 3, 2, hard=False),
        InvertedResidual(24, 72, 24, 5, 1, hard=True),
        InvertedResidual(24, 72, 24, 3, 1, hard=True),
        nn.Conv2d(24, 96, 1, bias=False),
        nn.BatchNorm2d(96, eps=1e-3),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 128),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


class VisionTransformer(nn.Module):
    """Patches, class token, position embedding, two pre-norm encoder layers (Dosovitskiy et al., 2021)."""

    def __init__(self, width: int = 48, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.3 * torch.randn(1, 17, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.encoder(x))[:, 0])


class ChannelsFirstNorm(nn.LayerNorm):
    """LayerNorm over the channels of an (N, C, H, W) map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """7x7 depthwise, LayerNorm, two linear layers over channels-last, layer scale, sum (Liu et al., 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(0.1 + 0.3 * torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


def conv_next() -> nn.Module:
    """Patchify stem, two blocks, downsampling layer, one block."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 4, stride=4),
        ChannelsFirstNorm(24, eps=1e-6),
        ConvNextBlock(24),
        ConvNextBlock(24),
        ChannelsFirstNorm(24, eps=1e-6),
        nn.Conv2d(24, 40, 2, stride=2),
        ConvNextBlock(40),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(40, eps=1e-6),
        nn.Linear(40, 10),
    )


class SuperResolution(nn.Module):
    """Sub-pixel convolution with a bilinear global skip (Shi et al., 2016; EDSR residual blocks without norm)."""

    def __init__(self, channels: int = 24, factor: int = 2) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, channels, 5, padding=2)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
            )
            for _ in range(2)
        )
        self.tail = nn.Conv2d(channels, 3 * factor**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        features = F.leaky_relu(self.head(image), 0.1)
        for block in self.body:
            features = features + 0.5 * block(features)
        base = F.interpolate(image, scale_factor=self.factor, mode="bilinear", align_corners=False)
        return torch.clamp(base + self.shuffle(self.tail(features)), -3.0, 3.0)
