"""The parts of aligned faces, told by ParseNet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..imaging.resize import resize, size_of
from ..nets.parsenet import ParseNet


@dataclass(frozen=True)
class FaceParser:
    """Aligned faces B 3 S S in 0..1 to classes B 512 512 (int64, see masks.CLASSES), where the faces are."""

    network: ParseNet

    @torch.inference_mode()
    def __call__(self, faces: Tensor) -> Tensor:
        side, weight = self.network.config.in_size, self.network.out_mask_conv.conv2d.weight
        if size_of(faces) != (side, side):
            faces = resize(faces, (side, side), method="bilinear", antialias=False, border="edge")
        return torch.cat([self.network(face[None].to(weight) * 2 - 1)[0].argmax(1) for face in faces]).to(
            faces.device
        )
