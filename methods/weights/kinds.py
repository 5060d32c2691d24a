"""Every kind of weight file in one table: how its header tells it, how it is built, and what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import builders, layouts
from .builders import ADM_KEYS
from .layouts import Metadata, Shapes

if TYPE_CHECKING:
    from torch import nn

APACHE = "Apache-2.0 for what ships and says no other; others: see their author"
SLAB = "S-Lab License 1.0: non-commercial"
RAIL = "CreativeML Open RAIL++-M for Stable Diffusion 2.1's files; others, such as SD-Turbo: see there"
FACEXLIB = "MIT for facexlib's and Pytorch_Retinaface's files; the pictures they were trained on: see there"


@dataclass(frozen=True)
class Kind:
    """One family of networks.

    detect: whether names and shapes are of this kind (the first of KINDS that says so is it). select: of all
    entries those of this network, under its own names. build: the network, from forms, those `values` that it
    must read, and metadata; None for files of several networks. example: names of files that hold it.
    """

    id: str
    title: str
    use: str
    licence: str
    detect: Callable[[Shapes, Metadata], bool]
    build: Callable[[Shapes, Metadata], nn.Module] | None
    select: Callable[[Shapes], dict] = dict
    values: tuple[str, ...] = ()
    example: str = ""


def find_kind(state: Shapes, metadata: Metadata) -> Kind | None:
    """The kind of a file, by what its header says."""
    return next((kind for kind in KINDS if kind.detect(state, metadata)), None)


def find_parts(state: Shapes) -> list[Kind]:
    """Those networks of StableSR and Stable Diffusion that a file holds, alone or with others."""
    return [kind for kind in KINDS if kind.id in PARTS and kind.detect(state, {})]


def add_kind(kind: Kind) -> None:
    """One more kind of weight file. Raises ValueError where its id is taken."""
    if kind.id in BY_ID:
        raise ValueError(f"there is a kind of weights {kind.id!r} already: give yours another id")
    KINDS.append(kind)
    BY_ID[kind.id] = kind


def _keys(*names: str) -> Callable[[Shapes, Metadata], bool]:
    return lambda state, metadata: all(name in state for name in names)


def _some(wanted: Callable[[str], bool]) -> Callable[[Shapes, Metadata], bool]:
    return lambda state, metadata: any(map(wanted, state))


STABLESR = "stablesr_000117.ckpt, webui_768v_139.ckpt"
BASE = "v2-1_512-ema-pruned.safetensors"
CLASSIFIER_KEYS = ("time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight")

KINDS = [  # the first that says so is it
    Kind(
        "stablesr",
        "full StableSR",
        "StableSR with its own base model",
        SLAB,
        lambda state, metadata: any(map(layouts.is_layer, state)) and any(map(layouts.is_unet, state)),
        None,
    ),
    Kind(
        "stablesr-layers",
        "StableSR layer",
        "StableSR, on a Stable Diffusion 2.1 model",
        SLAB,
        _some(layouts.is_layer),
        builders.build_layers,
        layouts.layers,
        example=STABLESR,
    ),
    Kind(
        "cfw",
        "StableSR CFW",
        "StableSR's feature wrapping, in its autoencoder",
        SLAB,
        _some(layouts.is_fusion),
        builders.build_cfw,
        lambda state: layouts.below({k: v for k, v in state.items() if layouts.is_fusion(k)}, "decoder."),
        example="vqgan_cfw_00011.ckpt",
    ),
    Kind(
        "stable-diffusion",
        "Stable Diffusion",
        "base model of StableSR",
        RAIL,
        lambda state, metadata: layouts.holds_unet(state, {}) and layouts.holds_vae(state, {}),
        None,
    ),
    Kind(
        "sd-unet",
        "Stable Diffusion UNet",
        "base model of StableSR, without an autoencoder",
        RAIL,
        layouts.holds_unet,
        builders.build_unet,
        layouts.unet,
        example=BASE,
    ),
    Kind(
        "sd-vae",
        "Stable Diffusion autoencoder",
        "autoencoder of StableSR",
        RAIL,
        layouts.holds_vae,
        builders.build_vae,
        layouts.vae,
        example=BASE,
    ),
    Kind(
        "sd-text",
        "OpenCLIP text encoder",
        "prompts of StableSR",
        "MIT (OpenCLIP); in a Stable Diffusion file that file's",
        layouts.holds_text,
        builders.build_text,
        layouts.text,
        example=f"{BASE}, or give the prompt's embeddings",
    ),
    Kind(
        "srcnn",
        "SRCNN",
        "upscaling by 2, 3 or 4",
        APACHE,
        _keys("conv1.weight", "conv1.bias", "conv2.weight", "conv3.weight"),
        builders.build_srcnn,
    ),
    Kind(
        "cleaner",
        "cleaner",
        "removing noise, compression and blur",
        APACHE,
        _keys("stem.weight", "middle.0.first.weight", "tails.x1.weight", "tails.x2.weight"),
        builders.build_cleaner,
    ),
    Kind(
        "corrector",
        "DPI corrector",
        "DPI, beside a prior",
        APACHE,
        builders.is_corrector,
        builders.build_corrector,
    ),
    Kind(
        "adm",
        "ADM prior",
        "prior of DPS, Diff-SR, DPI and guided sampling",
        "MIT for guided-diffusion's files; Apache-2.0 for those that ship; others: see their author",
        _keys(*ADM_KEYS),
        builders.build_adm_kind,
    ),
    Kind(
        "adm-classifier",
        "ADM classifier",
        "guidance towards a class",
        "MIT for guided-diffusion's files; others: see their author",
        _keys(*CLASSIFIER_KEYS),
        builders.build_adm_kind,
    ),
    Kind(
        "edm",
        "EDM prior",
        "prior of DPS, Diff-SR, DPI and guided sampling",
        "CC BY-NC-SA 4.0 for NVIDIA's files: non-commercial",
        _keys("model.map_layer0.weight", "model.map_layer1.weight"),
        builders.build_edm_kind,
    ),
    Kind(
        "ncsnpp",
        "NCSN++ super-resolution prior",
        "SRDG",
        APACHE,
        _keys("all_modules.0.W", "all_modules.3.weight", "all_modules.4.GroupNorm_0.weight"),
        builders.build_ncsnpp,
        values=("sigmas",),
    ),
    Kind(
        "attribute",
        "attribute classifier",
        "attributes of faces in SRDG",
        APACHE,
        _keys("DenseBlock_0.DenseLayer_0.Conv_0.weight"),
        builders.build_attribute,
    ),
    Kind(
        "judge",
        "attribute judge",
        "judging attributes of faces, never guiding",
        APACHE,
        _keys("stem.weight", "levels.0.first.weight", "last.weight"),
        builders.build_judge,
    ),
    Kind(
        "codeformer",
        "CodeFormer",
        "restoring faces",
        SLAB,
        _keys("position_emb", "quantize.embedding.weight", "idx_pred_layer.1.weight"),
        builders.build_face("build_codeformer"),
    ),
    Kind(
        "vqgan",
        "CodeFormer stage I",
        "training CodeFormer",
        SLAB,
        _keys("quantize.embedding.weight", "encoder.blocks.0.weight", "generator.blocks.0.weight"),
        builders.build_face("build_vqgan"),
    ),
    Kind(
        "retinaface",
        "RetinaFace",
        "finding faces",
        FACEXLIB,
        _keys("BboxHead.0.conv1x1.weight", "LandmarkHead.0.conv1x1.weight", "fpn.output1.0.weight"),
        builders.build_face("build_retinaface"),
    ),
    Kind(
        "parsenet",
        "ParseNet",
        "outlines of faces",
        FACEXLIB,
        _keys("encoder.0.conv2d.weight", "out_mask_conv.conv2d.weight", "out_img_conv.conv2d.weight"),
        builders.build_face("build_parsenet"),
    ),
    Kind(
        "mtcnn",
        "MTCNN",
        "finding faces",
        "MIT",
        _keys("pnet.conv4_1.weight", "rnet.dense5_1.weight", "onet.dense6_3.weight"),
        builders.build_face("build_mtcnn"),
    ),
]
BY_ID = {kind.id: kind for kind in KINDS}
PARTS = ("stablesr-layers", "cfw", "sd-unet", "sd-vae", "sd-text")
