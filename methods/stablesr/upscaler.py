"""StableSR on whole pictures, with networks of its own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...samplers.denoiser import Cond
from ...samplers.tiled import grid
from .. import weights
from ..device import device_of
from ..inputs import FaceUse, WeightInput
from ..memory import on_meta, peak_bytes
from ..method import AUTO, NONE, Given, Method, Plan, Report
from ..method import Upscaler as AnyUpscaler
from ..settings import Settings, option
from ..timing import Call
from ..weights.known import where
from .autoencoder import Autoencoder
from .layers import StableSRLayers
from .levels import CHAIN, levels_of
from .load import LAYER_FILES, load_stablesr, load_text, told_target
from .method import LATENT, NEGATIVE, StableSR, StableSRSettings, stablesr_upscale, working_size
from .pre_clean import CLEANED
from .prior import CONTEXT, LR, modulated, unlike_target
from .text import check_contexts, read_context, tokens_of

PUBLISHED = "; ".join(where(name) for name in ("stablesr", "cfw", "sd21-base"))
WIDE = 768  # pixels that the v model was trained on
WIDEST, LEAST = 2048, 256  # pixels of the autoencoder's tiles: where to begin, and where to end
PICTURES = 6  # of the result's size, in float32
SIDE = 512  # of aligned faces


@dataclass(frozen=True)
class PromptSettings(Settings):
    """What the UNet predicts and is told, and what comes before it."""

    target: str = option(
        AUTO, "What the UNet predicts, which files tell; v: the 768-pixel model", choices=(AUTO, "eps", "v")
    )
    prompt: str = option(
        "", "What the picture shows, which needs a tokenizer; StableSR was trained with none"
    )
    context: str = option(
        "", "In place of a prompt: a file of its embeddings, L D, as the tensor `context`", path=True
    )
    negative: str = option(NEGATIVE, "The prompt that guidance other than 1 pushes away from; as published")
    negative_context: str = option("", "In place of negative: a file of its embeddings", path=True)
    tokenizer: str = option(
        "", "Folder of vocab.json and merges.txt of Stable Diffusion 2.1 or any CLIP model", path=True
    )
    pre_clean: str = option(
        "",
        "What first restores badly damaged pictures, at their own size: another method, codeformer for "
        "aligned faces, or the file of an upscale model",
    )
    reference: str = option(
        "",
        "What the result is held to until the last steps, as the released script for faces does: "
        "codeformer, another method, or the file of an upscale model",
    )


class StableSRUpscaler(AnyUpscaler):
    """StableSR with its prompts encoded."""

    def __init__(
        self,
        model: StableSR,
        context: Tensor,
        settings: StableSRSettings,
        negative: Tensor | None = None,
        clean: AnyUpscaler | None = None,
        warnings: tuple[str, ...] = (),
        reference: AnyUpscaler | None = None,
    ):
        self.model = model
        self.context = context
        self.negative = negative
        self.settings = settings
        self.clean = clean
        self.reference = reference
        self.warnings = warnings
        self.size = SIDE
        self._rooms: dict[tuple, int] = {}
        self.networks = (*model.networks, *(n for one in (clean, reference) if one for n in one.networks))

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        calls = len(levels_of(self.settings.sampler, self.settings.steps)) - 1
        height, width = self.result_size(size, scale)
        pictures = 4 * 3 * PICTURES * height * width
        room = max(self._room_of_step(height, width), self._room_of_decoding(height, width))
        places, batch, _ = self._tiles(size, scale)
        return Plan((height, width), calls, room + pictures, self.warnings, -(-places // batch))

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        _, batch, sides = self._tiles(size, scale)
        shape = (batch, self.model.prior.channels, *sides)
        own = (self.model.prior.network, self.model.layers.encoder, self.model.layers.sft)
        guided = 1 + (self.settings.guidance != 1)
        fixed = guided, self.settings.fidelity > 0, self.settings.vae_tile

        def run(*networks: Any) -> object:
            with torch.no_grad():
                return [self._step(networks, shape) for _ in range(guided)]

        return Call(own, run, (shape, *fixed))

    def _tiles(self, size: tuple[int, int], scale: float) -> tuple[int, int, tuple[int, int]]:
        """Tiles of the latent, how many a call takes, and their sides."""
        unit, now = self.model.multiple, self.settings
        sides = [-(-n // unit) * unit // LATENT for n in working_size(size, scale, now.tile)]
        tile = now.tile // LATENT
        places = len(grid(sides[0], sides[1], tile, min(now.overlap // LATENT, tile - 1)))
        return places, min(now.tile_batch, places), (min(sides[0], tile), min(sides[1], tile))

    def _room_of_step(self, height: int, width: int) -> int:
        """Bytes of a call of the UNet and the encoder of its features."""
        high, wide = (
            min(self.settings.tile, -(-n // self.model.multiple) * self.model.multiple) // LATENT
            for n in (height, width)
        )
        shape = (self.settings.tile_batch, self.model.prior.channels, high, wide)
        return self._counted(("step", *shape), lambda: self._count_step(shape))

    def _room_of_decoding(self, height: int, width: int) -> int:
        """Bytes of decoding a tile."""
        unit = self.model.multiple
        tile = self.settings.vae_tile or max(height, width)
        size = [min(tile, -(-n // unit) * unit) for n in (height, width)]
        return self._counted(("decode", *size), lambda: self._count_decoding(size))

    def _counted(self, key: tuple, count: Callable[[], int]) -> int:
        key = (*key, next(self.networks[0].parameters()).dtype)
        if key not in self._rooms:
            self._rooms[key] = count()
        return self._rooms[key]

    def _count_step(self, shape: tuple[int, int, int, int]) -> int:
        networks = on_meta(self.model.prior.network, self.model.layers.encoder, self.model.layers.sft)
        return peak_bytes(lambda: self._step(networks, shape))

    def _step(self, networks: Sequence[Any], shape: Sequence[int]) -> object:
        """A call of the UNet and the encoder of its features, on the device that they are on."""
        unet, encoder, sft = networks
        denoiser = modulated(replace(self.model.prior, network=unet), StableSRLayers(encoder, sft))
        place = {"dtype": torch.float32, "device": device_of(unet)}
        x = torch.zeros(tuple(shape), **place)
        context = torch.zeros(shape[0], *self.context.shape[1:], **place)
        return denoiser(x, CHAIN.table[0], Cond({LR: x}, {CONTEXT: context}))

    def _count_decoding(self, size: Sequence[int]) -> int:
        wrapped = self.model.cfw is not None and self.settings.fidelity > 0
        vae, *cfw = on_meta(self.model.vae, *([self.model.cfw] if self.model.cfw and wrapped else []))
        image = torch.empty(1, 3, *size, device="meta")
        z = torch.empty(1, self.model.prior.channels, *(n // LATENT for n in size), device="meta")
        decoder = Autoencoder(vae, cfw[0] if wrapped else None)
        return peak_bytes(lambda: decoder.decode(z, image, self.settings.fidelity if wrapped else 0.0))

    def shrink(self) -> str:
        now = self.settings
        if now.tile_batch > 1:
            self.settings = replace(now, tile_batch=now.tile_batch // 2)
            return f"{self.settings.tile_batch} tiles a call"
        side = now.vae_tile or WIDEST
        if side > LEAST:  # the autoencoder's tiles change less of the result than the model's
            self.settings = replace(now, vae_tile=side // 2, vae_overlap=min(now.vae_overlap, side // 4))
            return f"tiles of {side // 2} pixels for the autoencoder"
        return ""

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        cleaner = self.clean
        clean = cleaner and (lambda pixels: cleaner(pixels, CLEANED).to(pixels))
        context = self.context.to(low.device)
        negative = None if self.negative is None else self.negative.to(low.device)
        return stablesr_upscale(
            self.model, low, scale, context, self.settings, negative, seeds, clean, step, self.reference
        )


def _load(files: Mapping[str, str], given: Given) -> StableSRUpscaler:
    settings = given.make(StableSRSettings)
    prompts = given.make(PromptSettings)
    name, cfw = files["stablesr"], "" if files["cfw"] == NONE else files["cfw"]
    base = "" if files["base"] == NONE else files["base"]
    warnings = []
    if settings.fidelity and not cfw:
        warnings.append(f"no CFW is given, so a fidelity of {settings.fidelity:g} has no effect")
        settings = replace(settings, fidelity=0.0)
    told = {"context": (prompts.prompt, prompts.context)}
    if settings.guidance != 1:
        told["negative"] = (prompts.negative, prompts.negative_context)
    try:
        folder = prompts.tokenizer or _tokenizer_of(base)
        tokens = {key: tokens_of(text, folder) for key, (text, file) in told.items() if not file}
        model = load_stablesr(name, base, cfw, prompts.target)
        text_tower = load_text(base or name) if tokens else None
    except FileNotFoundError as error:
        known = "publishes" in str(error)
        raise FileNotFoundError(str(error) if known else f"{error}. {PUBLISHED}") from error
    target = model.prior.target
    if warning := unlike_target(target, Path(name).name, told_target(name)):
        warnings.append(f"{warning}; target says what the model predicts")
    settings = _tiled(settings, target, given)
    if target == "v" and settings.tile != WIDE:
        warnings.append(
            f"the model that predicts v sees {WIDE} pixels: set tile to {WIDE} and overlap to {WIDE // 2}"
        )
    contexts = {
        key: text_tower(tokens[key]) if text_tower and key in tokens else read_context(file)
        for key, (_, file) in told.items()
    }
    origins = {key: base or name if key in tokens else told[key][1] for key in told}
    check_contexts(contexts, origins, model.prior.network.config.context_dim)
    clean, reference = (
        _named_restorer(getattr(prompts, option), option) for option in ("pre_clean", "reference")
    )
    return StableSRUpscaler(
        model, contexts["context"], settings, contexts.get("negative"), clean, tuple(warnings), reference
    )


def _tiled(settings: StableSRSettings, target: str, given: Given) -> StableSRSettings:
    """With the tiles that the model was trained on, where they are not given."""
    if target != "v" or "tile" in given.values:
        return settings
    overlap = settings.overlap if "overlap" in given.values else WIDE // 2
    return replace(settings, tile=WIDE, overlap=overlap)


def _tokenizer_of(base: str) -> str:
    """The tokenizer's folder in a base model of diffusers' layout, where it has one."""
    folder = weights.locate(base) / "tokenizer" if base else Path()
    return str(folder) if (folder / "vocab.json").is_file() else ""


def _named_restorer(name: str, option: str) -> AnyUpscaler | None:
    """Raises ValueError, FileNotFoundError."""
    if not name:
        return None
    from ..registry import restorer_named  # by name only: the registry knows this method too

    if name == "stablesr":
        raise ValueError(f"StableSR cannot restore pictures for itself: choose another method for {option}")
    return restorer_named(name)


METHOD = Method(
    "stablesr",
    "PriorSRUpscaleStableSR",
    "StableSR Upscale",
    "Enlarge and restore images of any size with Stable Diffusion 2.1 and StableSR's layers (Wang et al. "
    "2024).",
    settings=(StableSRSettings, PromptSettings),
    load=_load,
    weights=(
        WeightInput(
            "stablesr",
            "a full StableSR file such as stablesr_000117.ckpt, or its layers alone, which need a base; "
            "`priorsr models list` tells where they lie",
            kinds=LAYER_FILES,
        ),
        WeightInput(
            "base",
            "Stable Diffusion 2.1 or SD-Turbo; none: the full StableSR file",
            NONE,
            words=(NONE,),
            kinds=("stable-diffusion", "sd-unet"),
        ),
        WeightInput(
            "cfw",
            "for fidelity above 0, such as vqgan_cfw_00011.ckpt",
            NONE,
            words=(NONE,),
            kinds=("cfw",),
        ),
    ),
    faces=FaceUse(blind=True),
)
