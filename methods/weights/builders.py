"""The network of each kind of weight file, from the forms of its tensors and what the file says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .boundary import Incomplete
from .diffusers_names import count
from .file_settings import config_from, read_json, read_settings
from .layouts import STRUCT, UNET, Metadata, Shapes, below

if TYPE_CHECKING:
    from torch import nn

# network classes are imported where they are built: a command that builds none does not wait for them

ADM_KEYS = ("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight")


def build_layers(state: Shapes, metadata: Metadata) -> nn.Module:
    from torch import nn

    from ..nets.spade import SFT
    from ..nets.stablesr_released import infer_sft, infer_struct
    from ..nets.struct_encoder import StructEncoder

    spade = below(state, "sft.")
    struct = below(state, "encoder.")
    for part, what in ((spade, f"modulation layers ({UNET}*.spade.*)"), (struct, f"encoder ({STRUCT}*)")):
        if not part:
            raise Incomplete(
                f"it holds only half of StableSR's layers: it lacks the {what}. Choose a file that has both"
            )
    config = infer_struct(struct)
    timed, modulates = (metadata.get(name, "yes") != "no" for name in ("time", "sft"))
    sft = SFT(infer_sft(spade, len(config.widths)), config.out_channels, modulates)
    return nn.ModuleDict({"encoder": StructEncoder(config, timed), "sft": sft})


def build_unet(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.sd_unet import SDUNet
    from ..nets.stablesr_released import infer_sd_unet

    return SDUNet(infer_sd_unet(state))


def build_vae(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.sd_vae import VAE
    from ..nets.stablesr_released import infer_vae

    return VAE(infer_vae(state))


def build_cfw(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.cfw import CFW
    from ..nets.stablesr_released import infer_cfw

    return CFW(*infer_cfw(state))


def build_text(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.open_clip_text import BLOCKS, OpenCLIPText

    blocks = count(state, r"transformer\.resblocks\.(\d+)\.")
    if blocks < BLOCKS:
        raise Incomplete(
            f"its text encoder has {blocks} blocks, and Stable Diffusion 2.1's has {BLOCKS}: choose that"
        )
    return OpenCLIPText(state["ln_final.weight"].shape[0])


def build_srcnn(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.srcnn import SRCNN

    shapes = [tuple(state[f"conv{i}.weight"].shape) for i in (1, 2, 3)]
    kernels = tuple(s[3] for s in shapes)
    return SRCNN(shapes[0][1], (shapes[0][0], shapes[1][0]), kernels, tuple(k // 2 for k in kernels))


def build_adm_kind(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.adm_config import ADMConfig
    from ..nets.adm_released import build_adm, infer_config

    if "settings" in metadata:
        return build_adm(config_from(ADMConfig, read_settings(metadata)))
    return build_adm(infer_config(state))


def build_corrector(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.adm_config import ADMConfig
    from ..nets.adm_released import infer_config
    from ..nets.corrector import CorrectorUNet

    if "settings" in metadata:
        return CorrectorUNet(config_from(ADMConfig, read_settings(metadata)))
    heads = 16  # of the published training, which no key tells
    return CorrectorUNet(infer_config(state, superres=False, num_head_channels=heads))


def is_corrector(state: Shapes, metadata: Metadata) -> bool:
    """It has the keys of an ADM prior; other programs' files are told by their sizes: 32 channels, as many
    out as in.
    """
    if not all(key in state for key in ADM_KEYS):
        return False
    if "settings" in metadata:
        return metadata.get("kind") == "corrector"
    stem = tuple(state["input_blocks.0.0.weight"].shape)
    out = tuple(state["out.2.weight"].shape) if "out.2.weight" in state else ()
    return stem[:1] == (32,) and out[:1] == stem[1:2] and "label_emb.weight" not in state


def build_edm_kind(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.edm_precond import build_edm

    if "settings" not in metadata:
        raise Incomplete(
            "this EDM file does not say how its network is built: use the released .pkl, "
            "or save it again with PriorSR"
        )
    return build_edm({k: list(v) if isinstance(v, tuple) else v for k, v in read_settings(metadata).items()})


def build_ncsnpp(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.ncsnpp import NCSNpp, NCSNppConfig
    from ..nets.srdg_released import infer_ncsnpp

    if "settings" in metadata:
        return NCSNpp(config_from(NCSNppConfig, read_settings(metadata)))
    return NCSNpp(infer_ncsnpp(state))


def build_attribute(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.densenet import DenseNet
    from ..nets.srdg_released import infer_densenet

    config, pool = infer_densenet(state), read_json(metadata, "settings").get("pool", 1)
    if type(pool) is not int or not 1 <= pool <= 64:
        raise ValueError(f"its setting pool is {str(pool)[:40]!r}, and must be a number up to 64")
    return DenseNet(replace(config, image_size=config.image_size * pool, pool=pool))


def build_judge(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.plain import PlainClassifier, PlainConfig

    return PlainClassifier(config_from(PlainConfig, read_settings(metadata)))


def build_cleaner(state: Shapes, metadata: Metadata) -> nn.Module:
    from ..nets.cleaner import Cleaner, CleanerConfig

    return Cleaner(config_from(CleanerConfig, read_settings(metadata)))


def build_face(name: str) -> Callable[[Shapes, Metadata], nn.Module]:
    """The builder of a face network by its name in `face_released`."""

    def build(state: Shapes, metadata: Metadata) -> nn.Module:
        from ..nets import face_released

        if "settings" in metadata:
            read_settings(metadata)  # in bounds
        return getattr(face_released, name)(state, metadata)

    return build
