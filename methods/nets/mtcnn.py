"""The three networks of MTCNN (Zhang et al., Joint Face Detection and Alignment, IEEE SPL 2016).

Each takes RGB in -1..1 and answers the chance of a face B ..., and where the face lies as fractions of the
box looked at: shifts of left, top, right and bottom, and (the last network) five x and five y.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Proposal(nn.Module):
    """B 3 H W to chances B h w and shifts B 4 h w of boxes of 12 pixels, two apart."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x).softmax(1)[:, 1], self.conv4_2(x)


class Judge(nn.Module):
    """What both later networks share: convolutions, each followed by a pool (kernel 0: none), then a dense
    layer and its heads.
    """

    def __init__(
        self,
        widths: Sequence[int],
        kernels: Sequence[int],
        pools: Sequence[int],
        dense: tuple[int, int],
        heads: Sequence[int],
    ):
        super().__init__()
        self.pools, self.count = tuple(pools), len(widths)
        for i, (channels, out, kernel) in enumerate(zip((3, *widths), widths, kernels, strict=False), 1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, out, kernel))
            self.add_module(f"prelu{i}", nn.PReLU(out))
        last = self.count + 1
        self.add_module(f"dense{last}", nn.Linear(*dense))
        self.add_module(f"prelu{last}", nn.PReLU(dense[1]))
        self.heads = tuple(f"dense{last + 1}_{i}" for i in range(1, len(heads) + 1))
        for name, out in zip(self.heads, heads, strict=True):
            self.add_module(name, nn.Linear(dense[1], out))

    def answers(self, x: Tensor) -> list[Tensor]:
        for i, pool in enumerate(self.pools, 1):
            x = self.get_submodule(f"prelu{i}")(self.get_submodule(f"conv{i}")(x))
            if pool:
                x = F.max_pool2d(x, pool, 2, ceil_mode=True)
        last = self.count + 1
        x = self.get_submodule(f"prelu{last}")(self.get_submodule(f"dense{last}")(x.flatten(1)))
        return [self.get_submodule(name)(x) for name in self.heads]


class Refine(Judge):
    """B 3 24 24 to chances (B,) and shifts B 4."""

    def __init__(self):
        super().__init__((28, 48, 64), (3, 3, 2), (3, 3, 0), (576, 128), (2, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, shifts = self.answers(x)
        return scores.softmax(1)[:, 1], shifts


class Output(Judge):
    """B 3 48 48 to chances (B,), shifts B 4 and landmarks B 10."""

    def __init__(self):
        super().__init__((32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2, 0), (1152, 256), (2, 4, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, shifts, landmarks = self.answers(x)
        return scores.softmax(1)[:, 1], shifts, landmarks


class MTCNN(nn.Module):
    """The three networks. State-dict keys are those of facenet-pytorch's files below pnet, rnet and onet."""

    def __init__(self):
        super().__init__()
        self.pnet, self.rnet, self.onet = Proposal(), Refine(), Output()
