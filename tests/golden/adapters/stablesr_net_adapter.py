"""StableSR's networks: the encoder, the modulated UNet, feature wrapping."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from stablesr_networks import Together, autoencoder, networks, struct_encoder, unet
from torch import Tensor

from priorsr.methods.nets.adm_blocks import ResBlock
from priorsr.methods.nets.cfw import FuseBlock, fuse
from priorsr.methods.nets.spade import SFT, SPADE, residual_blocks
from priorsr.methods.stablesr.autoencoder import Autoencoder
from priorsr.methods.stablesr.levels import CHAIN
from priorsr.methods.stablesr.prior import CONTEXT, LR, diffusion_prior, modulated
from priorsr.samplers.denoiser import Cond


def at(t: float | list[float], x: Tensor) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float32).expand(len(x))


@adapter("stablesr", "struct_encoder")
@torch.no_grad()
def stablesr_struct_encoder(case: Case) -> dict[str, Tensor]:
    encoder, latent = case.fill(struct_encoder(case.config["kwargs"])), case.inputs["latent"]
    return {
        f"t{t}/{feature.shape[-1]}": feature
        for t in case.config["timesteps"]
        for feature in encoder(latent, at(t, latent))
    }


@adapter("stablesr", "spade")
@torch.no_grad()
def stablesr_spade(case: Case) -> dict[str, Tensor]:
    kwargs = case.config["kwargs"]
    layer = case.fill(SPADE(kwargs["norm_nc"], kwargs["label_nc"]))
    return {
        "out": layer(case.inputs["x"], case.inputs["seg"]),
        "normalized": layer.param_free_norm(case.inputs["x"]),
    }


@adapter("stablesr", "resblock_dual")
@torch.no_grad()
def stablesr_resblock(case: Case) -> dict[str, Tensor]:
    kwargs = case.config["kwargs"]
    block = ResBlock(kwargs["channels"], kwargs["emb_channels"], kwargs["out_channels"], scale_shift=False)
    sft = SFT(residual_blocks(block), kwargs["semb_channels"])
    case.fill(Together(("", block), ("", sft)))
    with sft.modulating(block, [case.inputs["seg"]]):
        return {"out": block(case.inputs["x"], case.inputs["emb"])}


@adapter("stablesr", "unet_dual")
@torch.no_grad()
def stablesr_unet_dual(case: Case) -> dict[str, Tensor]:
    network, sft = unet(case.config["kwargs"])
    case.fill(Together(("", network), ("", sft)))
    features = [value for name, value in case.inputs.items() if name.startswith("struct/")]
    x, context = case.inputs["x"], case.inputs["context"]
    with sft.modulating(network, features):
        return {f"eps_t{t}": network(x, at(t, x), context) for t in case.config["timesteps"]}


@adapter("stablesr", "unet_struct")
@torch.no_grad()
def stablesr_unet_struct(case: Case) -> dict[str, Tensor]:
    network, layers = networks(case)
    denoiser = modulated(diffusion_prior(network), layers)
    cond = Cond({LR: case.inputs["lr_latent"]}, {CONTEXT: case.inputs["context"]})
    return {
        f"eps_t{t}": denoiser(case.inputs["x"], CHAIN.table[t], cond).eps for t in case.config["timesteps"]
    }


@adapter("stablesr", "cfw_fuse")
@torch.no_grad()
def stablesr_cfw_fuse(case: Case) -> dict[str, Tensor]:
    kwargs = case.config["kwargs"]
    block = case.fill(FuseBlock(kwargs["out_ch"], kwargs["num_block"], kwargs["num_grow_ch"]))
    return {f"out_w{w}": fuse(block, case.inputs["enc"], case.inputs["dec"], w) for w in case.config["w"]}


@adapter("stablesr", "cfw_autoencoder")
@torch.no_grad()
def stablesr_cfw_autoencoder(case: Case) -> dict[str, Tensor]:
    vae, cfw = autoencoder(case.config["ddconfig"])
    case.fill(Together(("", vae), ("decoder.", cfw)))
    image, z, coder = case.inputs["image"], case.inputs["z"], Autoencoder(vae, cfw)
    with cfw.collecting(vae.encoder) as maps:
        moments = vae.encode(image)
    return {
        "moments": moments,
        "latent": coder.encode(image, case.noise(case.spec["noise"]["prefix"])),
        **{f"enc_fea_{level - 1}": features for level, features in maps.items()},
        **{f"decoded_w{w}": coder.decode(z, image, w) for w in case.config["w"]},
        "decoded_plain": Autoencoder(vae).decode(z),
    }
