"""The bodies of RetinaFace:

ResNet-50 (He et al. 2016) and MobileNet (Howard et al. 2017) at a quarter of its width.
"""

from __future__ import annotations

from torch import Tensor, nn


def conv_bn(
    channels: int, out: int, kernel: int, stride: int = 1, slope: float | None = None, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, and a leaky rectifier where a slope is given."""
    layers = [
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([] if slope is None else [nn.LeakyReLU(slope)]))


class MobileNet(nn.Module):
    """B 3 H W to the maps at strides 8, 16 and 32, of 64, 128 and 256 channels."""

    def __init__(self, slope: float = 0.1):
        super().__init__()

        def separable(channels: int, out: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                *conv_bn(channels, channels, 3, stride, slope, channels), *conv_bn(channels, out, 1, 1, slope)
            )

        def stage(*steps: tuple[int, int, int]) -> list[nn.Sequential]:
            return [separable(*step) for step in steps]

        first = stage((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        self.stage1 = nn.Sequential(conv_bn(3, 8, 3, 2, slope), *first)
        self.stage2 = nn.Sequential(*stage((64, 128, 2), *[(128, 128, 1)] * 5))
        self.stage3 = nn.Sequential(*stage((128, 256, 2), (256, 256, 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage1(x)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions around a shortcut; four times as wide as it is
    inside.
    """

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride)
        self.conv3, self.bn3 = conv_bn(width, 4 * width, 1)
        self.downsample = (
            conv_bn(channels, 4 * width, 1, stride) if stride > 1 or channels != 4 * width else None
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x)).relu_()
        h = self.bn2(self.conv2(h)).relu_()
        h = self.bn3(self.conv3(h))
        return (h + (x if self.downsample is None else self.downsample(x))).relu_()


class ResNet50(nn.Module):
    """B 3 H W to the maps at strides 8, 16 and 32, of 512, 1024 and 2048 channels."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 1):
            layer = []
            for block in range(blocks):
                layer.append(Bottleneck(channels, width, 2 if block == 0 and i > 1 else 1))
                channels = 4 * width
            self.add_module(f"layer{i}", nn.Sequential(*layer))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.layer1(self.pool(self.bn1(self.conv1(x)).relu_()))
        fine = self.layer2(x)
        middle = self.layer3(fine)
        return fine, middle, self.layer4(middle)
