"""An upscale model of any architecture that spandrel knows (ESRGAN, SwinIR, DAT, ...), piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

from .. import weights
from ..imaging.color import grey
from ..imaging.images import check_pixels
from ..imaging.pieces import Span, Window
from ..imaging.resize import MAX_SIDE, resize, size_of
from ..inputs import FaceUse, WeightInput
from ..method import Given, Method, Plan, Report, Upscaler
from ..precision import wanted
from ..settings import Settings, option
from ..timing import Call

MARGIN = 32  # pixels around a piece that the network sees too
LEAST = 128  # side of the smallest piece
MAPS = 256  # feature maps of a piece that are held at once, about
FACE = 512  # side of the aligned faces that face models take
INSTALL = 'upscale models of other authors need one more package: pip install "priorsr[models]"'


@dataclass(frozen=True)
class UpscaleModelSettings(Settings):
    """How an upscale model is run."""

    tile: int = option(
        512,
        "Side of the pieces in pixels of the input, 0 for the whole at once; smaller ones need less memory",
        low=0,
        high=MAX_SIDE,
    )

    def __post_init__(self):
        super().__post_init__()
        if 0 < self.tile < LEAST:
            raise ValueError(f"tile {self.tile} is too small: give 0 (no tiles) or at least {LEAST} pixels")


def load_model(name: str) -> Any:
    """spandrel's descriptor of the model in a weight file, which is read by our own readers, never unpickled.

    Raises FileNotFoundError, ImportError without the `models` extra, ValueError for a file of no model that
    makes pictures of pictures.
    """
    path = weights.locate(name)
    state, _ = weights.read_state(path)
    try:
        spandrel = import_module("spandrel")
    except ImportError as error:
        raise ImportError(INSTALL) from error
    try:
        found = spandrel.ModelLoader("cpu").load_from_state_dict(dict(state))
    except Exception as error:  # whatever an architecture makes of keys that are not its own
        first = ", ".join(list(state)[:3])
        raise ValueError(
            f"{path} holds no upscale model that spandrel knows (first keys: {first or 'none'}): choose "
            "another file"
        ) from error
    channels = (found.input_channels, found.output_channels)
    if found.purpose == "Inpainting" or channels not in ((1, 1), (3, 3)):
        raise ValueError(
            f"{path} holds a model for {found.purpose.lower()} of {channels[0]} to {channels[1]} channels: "
            "choose one that enlarges or restores pictures"
        )
    dtype = wanted()
    halves = {torch.float16: found.supports_half, torch.bfloat16: found.supports_bfloat16}
    found.model.to(dtype if halves.get(dtype, True) else torch.float32).eval().requires_grad_(False)
    return found


class ModelUpscaler(Upscaler):
    """An upscale model by spandrel's descriptor, at its own scale and then resized."""

    def __init__(self, model: Any, settings: UpscaleModelSettings):
        self.model = model
        self.networks = (model.model,)
        self.tile = 0 if model.tiling.name == "INTERNAL" else settings.tile
        self.size = FACE if model.purpose == "FaceSR" else 0

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        tile = self.tile or max(size)
        side = min(tile, max(size)) + 2 * MARGIN
        calls = prod(-(-n // tile) for n in size)
        own = self.model.scale
        rest = f"the model enlarges by {own}; from there to {scale:g} it is bicubic"
        told = (rest,) if scale > own else ()
        result = self.result_size(size, scale)
        room = 4 * MAPS * side**2 + 4 * 3 * own**2 * prod(size)
        return Plan(result, calls, room, told)

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        sides = (min(self.tile or n, n) + 2 * MARGIN for n in size)
        shape = (1, self.model.input_channels, *sides)

        def run(own: torch.nn.Module) -> object:
            one = next(own.parameters())
            with torch.inference_mode():
                return own(torch.zeros(shape, dtype=one.dtype, device=one.device))

        return Call(self.networks, run, shape)

    def shrink(self) -> str:
        if self.tile == 0 and self.model.tiling.name != "INTERNAL":
            self.tile = 1024
        elif self.tile and self.tile // 2 >= LEAST:
            self.tile //= 2
        else:
            return ""
        return f"pieces of {self.tile} pixels"

    @torch.inference_mode()
    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        check_pixels(low)
        size = self.result_size(size_of(low), scale)
        done = []
        for image in low.float():
            large = self._colours(image[None], step)
            done.append(large if size_of(large) == size else resize(large, size).clamp(0, 1))
        return torch.cat(done)

    def _colours(self, image: Tensor, step: Callable) -> Tensor:
        """A picture of 1 or 3 channels by a model of 1 or 3."""
        taken, given = self.model.input_channels, image.shape[1]
        if taken == given:
            return self._pieces(image, step)
        if taken == 3:
            return grey(self._pieces(image.expand(-1, 3, -1, -1), step))
        return torch.cat([self._pieces(image[:, i : i + 1], step) for i in range(3)], 1)

    def _pieces(self, image: Tensor, step: Callable) -> Tensor:
        own, dtype = self.model.scale, next(self.model.model.parameters()).dtype
        height, width = image.shape[-2:]
        result = torch.empty(1, image.shape[1], height * own, width * own, device=image.device)
        for rows, cols in pieces((height, width), self.tile or 0):
            window = Window.of(rows, cols, MARGIN, own)
            found = self.model(image[(..., *window.seen)].to(dtype).contiguous()).float()
            result[(..., *window.place)] = found[(..., *window.inner)].clamp(0, 1)
            step()
        return result


def pieces(size: tuple[int, int], tile: int) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of each piece of h x w, as equal as can be; the whole with 0."""

    def cut(length: int) -> list[Span]:
        count = -(-length // tile) if tile else 1
        ends = [round(i * length / count) for i in range(count + 1)]
        return list(pairwise(ends))

    for rows in cut(size[0]):
        for cols in cut(size[1]):
            yield rows, cols


def _load(files: Mapping[str, str], given: Given) -> ModelUpscaler:
    return ModelUpscaler(load_model(files["weights"]), given.make(UpscaleModelSettings))


METHOD = Method(
    "model",
    "PriorSRUpscaleModel",
    "Upscale by Model",
    "Enlarge or restore by an upscale model of other authors, such as ESRGAN, SwinIR or DAT.",
    settings=(UpscaleModelSettings,),
    load=_load,
    weights=(WeightInput("weights", "an upscale model of any architecture that spandrel knows"),),
    faces=FaceUse(blind=True),
)
