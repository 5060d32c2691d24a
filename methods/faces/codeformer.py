"""CodeFormer as a restorer of aligned faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..nets.codeformer import CodeFormer
from ..settings import Settings, option


@dataclass(frozen=True)
class CodeFormerSettings(Settings):
    """How CodeFormer restores."""

    w: float = option(
        0.5, "0 invents the most detail, 1 stays closest to the input; VisionRefine used 0.7", low=0, high=2
    )
    match_statistics: bool = option(
        True, "Give the predicted codes the mean and deviation of the input's latent (AdaIN), as released"
    )


def to_network(x: Tensor) -> Tensor:
    """0..1 to -1..1."""
    return x * 2 - 1


def from_network(x: Tensor) -> Tensor:
    """-1..1, clipped, to 0..1."""
    return (x.clamp(-1, 1) + 1) / 2


@dataclass(frozen=True)
class CodeFormerRestorer:
    """Aligned faces B 3 S S in 0..1 to the same shape, float32, where the network is and in its precision.

    Seeds play no role.
    """

    network: CodeFormer
    settings: CodeFormerSettings = CodeFormerSettings()

    frame: ClassVar[str] = "ffhq"

    @property
    def size(self) -> int:
        """The side S that the network was made for."""
        return self.network.config.image_size

    @torch.inference_mode()
    def __call__(self, faces: Tensor, seeds: Sequence[int] = ()) -> Tensor:
        weight = self.network.feat_emb.weight
        restored = self.network(to_network(faces).to(weight), self.settings.w, self.settings.match_statistics)
        return from_network(restored.float()).to(faces.device)
