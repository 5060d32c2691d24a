"""SRCNN, 9-5-5 and its smaller forms (Dong et al., Image Super-Resolution Using Deep Convolutional
Networks, TPAMI 2016).
"""

from __future__ import annotations

from torch import Tensor, nn


class ExactConv(nn.Conv2d):
    """In float32 whatever the others are in: the last one, where rounding would show."""

    keep_float32 = True


class SRCNN(nn.Module):
    """Three convolutions on an image already enlarged to its target size; no residual.

    B C H W in 0..1 to the same shape. Paddings of zero give the valid part only, `reach` pixels smaller on
    each side. State-dict keys equal the published conv1|conv2|conv3 .weight|.bias.
    """

    def __init__(
        self,
        channels: int = 1,
        filters: tuple[int, int] = (64, 32),
        kernels: tuple[int, int, int] = (9, 5, 5),
        paddings: tuple[int, int, int] = (4, 2, 2),
    ):
        super().__init__()
        widths = (channels, *filters, channels)
        kinds = (nn.Conv2d, nn.Conv2d, ExactConv)
        layers = [kinds[i](widths[i], widths[i + 1], kernels[i], padding=paddings[i]) for i in range(3)]
        self.conv1, self.conv2, self.conv3 = layers
        self.reach = sum(k // 2 for k in kernels)  # input pixels that an output pixel sees on each side

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The maps after the first and the second ReLU, in the precision of these two layers."""
        extracted = self.conv1(x.to(self.conv1.weight.dtype)).relu()
        return extracted, self.conv2(extracted).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.features(x)[1].to(self.conv3.weight.dtype))
