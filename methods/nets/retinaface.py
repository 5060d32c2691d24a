"""RetinaFace (Deng et al., CVPR 2020) as released with facexlib: a body, a feature pyramid, context modules,
three heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .retinaface_bodies import MobileNet, ResNet50, conv_bn

STRIDES = (8, 16, 32)
ANCHORS = 2  # at each position of each map


class RawFaces(NamedTuple):
    """For each of N anchors: box offsets B N 4, chances B N 2 (the second is that of a face), landmark
    offsets B N 10.
    """

    boxes: Tensor
    chances: Tensor
    landmarks: Tensor


class Pyramid(nn.Module):
    """Three maps to as many of one width, coarse ones added to finer ones."""

    def __init__(self, widths: tuple[int, int, int], out: int):
        super().__init__()
        slope = _slope(out)
        self.output1, self.output2, self.output3 = (conv_bn(width, out, 1, slope=slope) for width in widths)
        self.merge1, self.merge2 = (conv_bn(out, out, 3, slope=slope) for _ in range(2))

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + F.interpolate(coarse, middle.shape[2:], mode="nearest"))
        return self.merge1(fine + F.interpolate(middle, fine.shape[2:], mode="nearest")), middle, coarse


class Context(nn.Module):
    """Views of 3x3, 5x5 and 7x7 side by side (SSH, Najibi et al. 2017)."""

    def __init__(self, channels: int):
        super().__init__()
        half, quarter, slope = channels // 2, channels // 4, _slope(channels)
        self.conv3X3 = conv_bn(channels, half, 3)
        self.conv5X5_1 = conv_bn(channels, quarter, 3, slope=slope)
        self.conv5X5_2 = conv_bn(quarter, quarter, 3)
        self.conv7X7_2 = conv_bn(quarter, quarter, 3, slope=slope)
        self.conv7x7_3 = conv_bn(quarter, quarter, 3)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.conv5X5_1(x)
        return torch.cat(
            [self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))], 1
        ).relu()


class Head(nn.Module):
    """B C H W to `values` for every anchor: B (H W anchors) values."""

    def __init__(self, channels: int, values: int):
        super().__init__()
        self.conv1x1 = nn.Conv2d(channels, ANCHORS * values, 1)
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)


class RetinaFace(nn.Module):
    """B 3 H W, blue-green-red in 0..255 less the mean, to raw faces. body: resnet50 or mobile0.25.

    State-dict keys equal the released detection_Resnet50_Final.pth and detection_mobilenet0.25_Final.pth
    without `module.`.
    """

    ClassHead: nn.ModuleList
    BboxHead: nn.ModuleList
    LandmarkHead: nn.ModuleList

    def __init__(self, body: str = "resnet50"):
        super().__init__()
        bodies = {
            "resnet50": (ResNet50, (512, 1024, 2048), 256),
            "mobile0.25": (MobileNet, (64, 128, 256), 64),
        }
        if body not in bodies:
            raise ValueError(f"RetinaFace has no body {body!r}: choose one of {', '.join(bodies)}")
        make, widths, channels = bodies[body]
        self.body, self.fpn = make(), Pyramid(widths, channels)
        self.ssh1, self.ssh2, self.ssh3 = (Context(channels) for _ in STRIDES)
        for name, values in (("ClassHead", 2), ("BboxHead", 4), ("LandmarkHead", 10)):
            self.add_module(name, nn.ModuleList(Head(channels, values) for _ in STRIDES))

    def forward(self, x: Tensor) -> RawFaces:
        maps = [
            context(m)
            for context, m in zip((self.ssh1, self.ssh2, self.ssh3), self.fpn(self.body(x)), strict=True)
        ]
        boxes, scores, landmarks = (
            torch.cat([head(m) for head, m in zip(heads, maps, strict=True)], 1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return RawFaces(boxes, scores.softmax(2), landmarks)


def _slope(channels: int) -> float:
    """Of the leaky rectifiers, which the wide networks do without."""
    return 0.1 if channels <= 64 else 0.0
