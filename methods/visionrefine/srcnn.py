"""SRCNN upscaling of whole pictures, tile by tile, at any scale (VisionRefine section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import weights
from ..imaging.color import BT601, BT601_SRCNN, YCbCr, rgb_to_ycbcr, ycbcr_to_rgb
from ..imaging.images import check_pixels
from ..imaging.resize import MAX_SIDE, Resampler, check_scale, enlarged_size, resize, size_of
from ..nets.srcnn import SRCNN
from ..settings import Settings, option

SCALES = (2, 3, 4)
SPACES: dict[str, YCbCr] = {"bt601": BT601, "srcnn-pytorch": BT601_SRCNN}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SRCNNSettings(Settings):
    """How a picture is upscaled."""

    channels: str = option(
        "luma",
        "luma restores brightness and enlarges colour bicubically; rgb restores each channel (three times "
        "slower)",
        choices=("luma", "rgb"),
    )
    border: str = option(
        "replicate",
        "What the network sees beyond the picture: its repeated edge, or zeros as published",
        choices=("replicate", "zero"),
    )
    space: str = option(
        "bt601",
        "The luma the weights were trained on; srcnn-pytorch for that repository's released files",
        choices=tuple(SPACES),
    )
    tile: int = option(
        256,
        "Side of a piece of the result in pixels, 0 for all at once; changes memory, not the result",
        low=0,
        high=MAX_SIDE,
    )
    half: bool = option(
        False, "float16 in the two large convolutions: faster on GPUs, differences well below one 8-bit level"
    )

    def __post_init__(self):
        super().__post_init__()
        if 0 < self.tile < 16:
            raise ValueError(f"tile {self.tile} is too small: give 0 (no tiles) or at least 16 pixels")


def load_srcnn(scale: float, name: str | None = None) -> tuple[SRCNN, int]:
    """The network for a scale and the scale it was trained at: the shipped one, or the weights called `name`.

    Raises ValueError when the file says that it is for another scale than the one that serves `scale`.
    """
    native = native_scale(scale)
    found = weights.load(weights.locate(name or f"srcnn_x{native}"), "srcnn")
    if found.scale not in (None, native):
        raise ValueError(
            f"{found.path} was trained for scale {found.scale}, a scale of {scale:g} needs x{native} "
            "weights: choose those"
        )
    return found.network.to(memory_format=torch.channels_last), native  # a quarter faster on CPUs


def native_scale(scale: float) -> int:
    """The trained scale nearest to a scale, which serves it best (Set5 at 1.3 to 2.8).

    Raises ValueError below 1 or above 64.
    """
    if check_scale(scale) < 1:
        raise ValueError(f"a scale of {scale:g} would shrink the image: give 1 or more, or resize instead")
    return min(SCALES, key=lambda s: abs(s - scale))


def srcnn_upscale(
    network: SRCNN,
    x: Tensor,
    scale: float,
    native: int | None = None,
    settings: SRCNNSettings = SRCNNSettings(),
    progress: Progress | None = None,
) -> Tensor:
    """Enlarge B C H W in 0..1 (C is 1 or 3) by `scale`; float32 on x's device, in 0..1, computed on the
    network's, whose own channels are luma or RGB.

    A scale the network is not trained for is reached through its `native` one and an antialiased bicubic
    resize, which on Set5 beats feeding the network an image enlarged to the other scale by up to 10 dB. Each
    image is computed by itself, so that its result does not depend on the batch. Memory beyond the result is
    that of one tile.
    """
    check_pixels(x)
    if x.shape[1] not in (1, 3):
        raise ValueError(f"SRCNN takes grey or RGB images, not {x.shape[1]} channels: split alpha off first")
    nearest = native_scale(scale)
    native = nearest if native is None else native
    if network.conv1.in_channels not in (1, 3):
        raise ValueError(
            f"these weights take {network.conv1.in_channels} channels: choose some for luma or for RGB"
        )
    size = enlarged_size(size_of(x), scale)
    if max(size) > MAX_SIDE:
        raise ValueError(
            f"the result would be {size[1]}x{size[0]}: at most {MAX_SIDE} pixels a side; choose a smaller "
            "scale"
        )
    full = x.shape[-2] * native, x.shape[-1] * native
    tiles = list(_tiles(full, settings.tile or max(full)))
    total, done = len(x) * len(tiles), 0
    results = []
    for image in x.float():
        source = image[None].to(network.conv1.weight.device)
        enlarge = Resampler(size_of(image), full, border="mirror")
        canvas = image.new_empty((image.shape[0], *full))
        for top, bottom, left, right in tiles:
            canvas[:, top:bottom, left:right] = _tile(
                network, enlarge, source, (top, bottom), (left, right), settings
            )[0]
            done += 1
            if progress:
                progress(done, total)
        results.append(canvas if size == full else resize(canvas, size).clamp(0, 1))
    return torch.stack(results)


def restore_luma(network: SRCNN, luma: Tensor, half: torch.dtype | None = None) -> Tensor:
    """The network on an enlarged image, B C H W in 0..1, its two large convolutions in `half` if given."""
    with torch.autocast(luma.device.type, half) if half else nullcontext():
        features = network.features(luma)[1]
    return network.conv3(features.float())


def _tile(
    network: SRCNN,
    enlarge: Resampler,
    image: Tensor,
    rows: tuple[int, int],
    cols: tuple[int, int],
    settings: SRCNNSettings,
) -> Tensor:
    """One piece of the result, from as much of the enlarged image as its pixels depend on."""
    reach, (height, width) = network.reach, enlarge.out_size
    seen_rows, seen_cols = _clip(rows, reach, height), _clip(cols, reach, width)
    part = enlarge.window(image, seen_rows, seen_cols)
    if settings.border == "replicate":
        missing = (*_missing(cols, seen_cols, reach), *_missing(rows, seen_rows, reach))
        part = F.pad(part, missing, mode="replicate")
        seen_rows, seen_cols = (rows[0] - reach, rows[1] + reach), (cols[0] - reach, cols[1] + reach)
    restored = _restore(network, part, settings)
    top, left = rows[0] - seen_rows[0], cols[0] - seen_cols[0]
    return restored[..., top : top + rows[1] - rows[0], left : left + cols[1] - cols[0]]


def _restore(network: SRCNN, part: Tensor, settings: SRCNNSettings) -> Tensor:
    # processors have no fast float16
    fast = torch.bfloat16 if part.device.type == "cpu" else torch.float16
    half = fast if settings.half else None
    if network.conv1.in_channels == 3:  # grey goes through as equal channels
        restored = restore_luma(network, part.expand(-1, 3, -1, -1), half).clamp(0, 1)
        return restored if part.shape[1] == 3 else restored.mean(1, keepdim=True)
    if settings.channels == "rgb":
        planes = part.flatten(0, 1)[:, None]
        return restore_luma(network, planes, half).clamp(0, 1).view_as(part)
    space = SPACES[settings.space]
    ycbcr = rgb_to_ycbcr(part.expand(-1, 3, -1, -1) * 255, space)
    ycbcr[:, :1] = restore_luma(network, ycbcr[:, :1] / 255, half).clamp(0, 1) * 255
    return (ycbcr_to_rgb(ycbcr, space)[:, : part.shape[1]] / 255).clamp(0, 1)


def _tiles(size: tuple[int, int], tile: int):
    for top in range(0, size[0], tile):
        for left in range(0, size[1], tile):
            yield top, min(top + tile, size[0]), left, min(left + tile, size[1])


def _clip(span: tuple[int, int], reach: int, size: int) -> tuple[int, int]:
    return max(0, span[0] - reach), min(size, span[1] + reach)


def _missing(span: tuple[int, int], seen: tuple[int, int], reach: int) -> tuple[int, int]:
    return seen[0] - (span[0] - reach), (span[1] + reach) - seen[1]
