"""What StableSR adds to Stable Diffusion's UNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..nets import struct_encoder
from ..nets.spade import SFT
from ..nets.struct_encoder import StructEncoder
from ..weights.layouts import STRUCT as STRUCT
from ..weights.layouts import UNET as UNET

CONTEXT_DIM = (
    1024  # channels of a prompt's tokens in Stable Diffusion 2; nothing else tells its UNet from that of 1.x
)


@dataclass(frozen=True)
class StableSRLayers:
    """What StableSR adds to a UNet: the encoder of the low-resolution latent and the layers that its features
    modulate.
    """

    encoder: StructEncoder
    sft: SFT

    def check(self, unet: Any) -> None:
        """Raises ValueError unless the UNet (ours or another program's) is of the kind that these layers were
        trained with.
        """
        self.sft.check(unet)
        seen, wanted = unet.input_blocks[0][0].in_channels, self.encoder.config.in_channels
        if seen != wanted:
            raise ValueError(
                f"the model takes {seen} channels and StableSR needs one of {wanted}: choose no inpainting "
                "or depth model"
            )
        tokens = next(
            (m.to_k.weight.shape[1] for path, m in unet.named_modules() if path.endswith("attn2")), None
        )
        if self.encoder.config == struct_encoder.RELEASED and tokens != CONTEXT_DIM:
            raise ValueError(
                f"the model takes prompts of {tokens} channels and StableSR was trained on Stable "
                f"Diffusion 2.1, which takes {CONTEXT_DIM}: "
                "choose a Stable Diffusion 2.1 or SD-Turbo model"
            )

    def released_state(self) -> dict[str, Tensor]:
        """The tensors under their published names, for a file that other programs read too."""
        return {
            **{f"{UNET}{key}": value for key, value in self.sft.state_dict().items()},
            **{f"{STRUCT}{key}": value for key, value in self.encoder.state_dict().items()},
        }
