"""The blind cleaner on whole pictures, piece by piece, and as a method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from .. import weights
from ..device import device_of
from ..imaging.color import grey
from ..imaging.images import check_pixels
from ..imaging.pieces import Span, Window
from ..imaging.resize import MAX_SIDE, resize, size_of
from ..inputs import FaceUse, Scales, WeightInput
from ..method import Given, Method, Plan, Report, Upscaler
from ..nets.cleaner import MULTIPLE, Cleaner
from ..settings import Settings, option
from ..timing import Call

KIND = "cleaner"
SHIPPED = "clean"
MAPS = 6  # feature maps that are held at once, at half of the size


@dataclass(frozen=True)
class CleanSettings(Settings):
    """How a picture is cleaned."""

    strength: float = option(
        1.0, "How much of what the network changes: 0 is bicubic enlargement, 1 all of it", low=0, high=1
    )
    tile: int = option(
        512,
        "Side of a piece of the picture in pixels, 0 for all at once; changes memory, not the result",
        low=0,
        high=MAX_SIDE,
    )

    def __post_init__(self):
        super().__post_init__()
        if 0 < self.tile < 64:
            raise ValueError(f"tile {self.tile} is too small: give 0 (no tiles) or at least 64 pixels")


def load_cleaner(name: str = SHIPPED) -> Cleaner:
    """The network in a weight file (a path, or a name in a model folder). Raises ValueError as
    `weights.load`.
    """
    return weights.load(weights.locate(name), KIND).network.to(memory_format=torch.channels_last)


def native_scale(scale: float) -> int:
    """Which of the network's scales serves a scale: 1 for 1 alone, else 2 and a resize."""
    return 1 if scale == 1 else 2


@torch.inference_mode()
def clean(
    network: Cleaner,
    x: Tensor,
    scale: float,
    size: tuple[int, int],
    settings: CleanSettings = CleanSettings(),
    step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Clean B C h w in 0..1 (C is 1 or 3) and enlarge it to `size` (H, W), about `scale` times as large;
    float32 on the network's device, in 0..1.

    Pictures are computed one by one, in pieces that see as far as the network does. step() after every piece.
    """
    check_pixels(x)
    native = native_scale(scale)
    full = x.shape[-2] * native, x.shape[-1] * native
    results = []
    for image in x.float():
        low = image[None].to(device_of(network))
        canvas = resize(low, full) if native > 1 else low.clone()
        for rows, cols in _pieces(low.shape[-2:], settings.tile):
            window = Window.of(rows, cols, network.config.reach, native)
            canvas[(..., *window.place)] += settings.strength * _change(network, low, window, native)
            step()
        canvas = canvas.clamp(0, 1)
        results.append(canvas if size == full else resize(canvas, size).clamp(0, 1))
    return torch.cat(results)


def _change(network: Cleaner, low: Tensor, window: Window, scale: int) -> Tensor:
    """What the network changes in one piece, from as much of the picture as that depends on."""
    seen = low[(..., *window.seen)].expand(-1, 3, -1, -1)
    change = network(seen.contiguous(memory_format=torch.channels_last), scale)[(..., *window.inner)]
    return grey(change) if low.shape[1] == 1 else change


def _pieces(size: Sequence[int], tile: int) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of each; they begin at multiples of the network's blocks, so that no result depends on
    them.
    """
    side = max(tile // MULTIPLE * MULTIPLE, MULTIPLE) if tile else max(size)
    for top in range(0, size[0], side):
        for left in range(0, size[1], side):
            yield (top, min(top + side, size[0])), (left, min(left + side, size[1]))


class CleanUpscaler(Upscaler):
    """The blind cleaner by its network."""

    def __init__(self, network: Cleaner, settings: CleanSettings):
        self.networks, self.network, self.settings = (network,), network, settings

    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        tile = self.settings.tile or max(size)
        calls = prod(-(-n // tile) for n in size)
        side = min(tile, max(size)) + 2 * self.network.config.reach
        return Plan(self.result_size(size, scale), calls, MAPS * self.network.config.width * side**2)

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        tile, reach = self.settings.tile or max(size), self.network.config.reach
        shape, native = (1, 3, *(min(tile, n) + 2 * reach for n in size)), native_scale(scale)

        def run(own: Cleaner) -> Tensor:
            x = torch.zeros(shape, dtype=torch.float32, device=device_of(own))
            return own(x.contiguous(memory_format=torch.channels_last), native)

        return Call((self.network,), run, (shape, native))

    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        size = self.result_size(size_of(low), scale)
        return clean(self.network, low, scale, size, self.settings, step)


def _load(files: Mapping[str, str], given: Given) -> CleanUpscaler:
    return CleanUpscaler(load_cleaner(files["weights"]), given.make(CleanSettings))


METHOD = Method(
    "clean",
    "PriorSRUpscaleClean",
    "Clean and Upscale",
    "Remove noise, compression and blur of unknown strength, at the same size or enlarged; invents nothing.",
    settings=(CleanSettings,),
    load=_load,
    weights=(
        WeightInput(
            "weights",
            "the cleaner that ships, or a file of `priorsr train cleaner`",
            SHIPPED,
            shipped=lambda: weights.shipped(KIND),
            kinds=(KIND,),
        ),
    ),
    scales=Scales(default=2.0),
    faces=FaceUse(blind=True),
)
