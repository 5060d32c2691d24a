"""CodeFormer as a restorer of aligned faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..imaging.resize import resize, size_of
from ..method import Plan, Report, Upscaler
from ..nets.codeformer import CodeFormer
from ..settings import Settings, option
from ..timing import Call


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


class CodeFormerUpscaler(Upscaler):
    """CodeFormer as what enlarges pictures, each of which is an aligned face."""

    def __init__(self, restorer: CodeFormerRestorer):
        self.restorer = restorer
        self.networks = (restorer.network,)
        self.size = restorer.size

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        """Raises ValueError for what is no aligned face."""
        if size[0] != size[1]:
            raise ValueError(
                f"CodeFormer restores aligned faces, which are square, not pictures of {size[1]} x "
                f"{size[0]}: use restore-faces, or take another restorer"
            )
        return Plan(self.result_size(size, scale), 1, self.one_call(size, scale).bytes())

    def one_call(self, size: tuple[int, int], scale: float) -> Call:
        settings, side = self.restorer.settings, self.size

        @torch.no_grad()
        def run(network: CodeFormer) -> Tensor:
            weight = network.feat_emb.weight
            return network(weight.new_zeros(1, 3, side, side), settings.w, settings.match_statistics)

        return Call(self.networks, run, (side, self.restorer.network.feat_emb.weight.dtype))

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        shown = low.expand(-1, 3, -1, -1)
        face = self.restorer(resize(shown, (self.size, self.size)).clamp(0, 1))
        step()
        face = face.mean(1, keepdim=True) if low.shape[1] == 1 else face
        return resize(face, self.result_size(size_of(low), scale)).clamp(0, 1)
