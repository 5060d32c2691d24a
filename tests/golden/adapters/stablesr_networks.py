"""StableSR's networks as the cases describe them, filled."""

from __future__ import annotations

from golden_cases import Case
from torch import Tensor, nn

from priorsr.methods.nets.adm_config import ADMConfig, given
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE, VAEConfig
from priorsr.methods.nets.spade import SFT, residual_blocks
from priorsr.methods.nets.struct_encoder import StructEncoder
from priorsr.methods.stablesr.layers import StableSRLayers


class Together(nn.Module):
    """Networks whose weights the published code keeps in one, each under its prefix there."""

    def __init__(self, *parts: tuple[str, nn.Module]):
        super().__init__()
        self.parts = parts

    def state_dict(self) -> dict[str, Tensor]:
        return {
            prefix + key: value for prefix, part in self.parts for key, value in part.state_dict().items()
        }


def struct_encoder(kwargs: dict) -> StructEncoder:
    return StructEncoder(
        ADMConfig(
            image_size=kwargs["image_size"],
            in_channels=kwargs["in_channels"],
            out_channels=kwargs["out_channels"],
            model_channels=kwargs["model_channels"],
            num_res_blocks=kwargs["num_res_blocks"],
            channel_mult=tuple(kwargs["channel_mult"]),
            attention_factors=tuple(kwargs["attention_resolutions"]),
            num_heads=kwargs["num_heads"],
            num_head_channels=given(kwargs["num_head_channels"]),
            scale_shift=kwargs["use_scale_shift_norm"],
            resblock_updown=kwargs["resblock_updown"],
            conv_resample=kwargs["conv_resample"],
            new_attention_order=kwargs["use_new_attention_order"],
        )
    ).eval()


def unet(kwargs: dict) -> tuple[SDUNet, SFT]:
    """The UNet, and the layers that modulate it."""
    config = SDConfig(
        image_size=kwargs["image_size"],
        in_channels=kwargs["in_channels"],
        out_channels=kwargs["out_channels"],
        model_channels=kwargs["model_channels"],
        num_res_blocks=kwargs["num_res_blocks"],
        channel_mult=tuple(kwargs["channel_mult"]),
        attention_factors=tuple(kwargs["attention_resolutions"]),
        num_head_channels=kwargs["num_head_channels"],
        context_dim=kwargs["context_dim"],
    )
    network = SDUNet(config).eval()
    return network, SFT(residual_blocks(network), kwargs["semb_channels"]).eval()


def networks(case: Case) -> tuple[SDUNet, StableSRLayers]:
    network, sft = unet(case.config["unet"])
    encoder = struct_encoder(case.config["struct_encoder"])
    case.fill(Together(("", network), ("", sft)), "model.diffusion_model")
    case.fill(encoder, "structcond_stage_model")
    return network, StableSRLayers(encoder, sft)


def autoencoder(ddconfig: dict) -> tuple[VAE, CFW]:
    config = VAEConfig(
        ddconfig["ch"], tuple(ddconfig["ch_mult"]), ddconfig["num_res_blocks"], ddconfig["z_channels"]
    )
    return VAE(config).eval(), CFW(
        {level: config.widths[level] for level in range(1, len(config.widths) - 1)}
    ).eval()
