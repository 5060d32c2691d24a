"""Crops and what a degradation leaves of them, drawn by seed from more pictures than memory holds."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ..degrade import Recipe
from ..degrade.step import Step
from ..imaging.datasets import find_files, sound
from ..imaging.images import read, read_head, to_uint8
from ..imaging.resize import enlarge_by, resize, size_of

log = logging.getLogger("priorsr")

KEPT = 1 << 30  # bytes of decoded pictures that stay in memory; those beyond are read each time


@dataclass(frozen=True)
class Crops:
    """Squares of `size` pixels from picture files, which are read when they are asked for."""

    files: tuple[Path, ...]
    size: int
    flip: bool = True  # half of the squares are mirrored
    unpacked: TemporaryDirectory | None = None  # where those of archives are, for as long as this lives
    scales: tuple[float, ...] = (1.0,)  # to which the pictures are reduced, one drawn for each square
    decoded: dict[Path, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(
        paths: Sequence[str | Path], size: int, flip: bool = True, scales: tuple[float, ...] = (1.0,)
    ) -> Crops:
        """Of the pictures of folders and zip archives that are large enough; those left out are logged, with
        what cannot be read.

        Raises ValueError when none is left, and as `find_files`.
        """
        folder = TemporaryDirectory()
        files = find_files(paths, Path(folder.name))
        sides = sound(files, lambda path: (path, min(read_head(path).size)))
        large = tuple(path for _, (path, side) in sides if side >= size)
        if not large:
            places = ", ".join(map(str, paths))
            raise ValueError(
                f"none of the {len(files)} pictures in {places} has {size} pixels along a side: lower --size"
            )
        if len(large) < len(files):
            log.warning(
                "%d of %d pictures are left out: their shorter sides are below %d pixels",
                len(files) - len(large),
                len(files),
                size,
            )
        return Crops(large, size, flip, folder, scales)

    def __len__(self) -> int:
        return len(self.files)

    def __call__(self, seed: int, index: int | None = None) -> Tensor:
        """One square 3 S S in 0..1, of the picture `index` or of any."""
        rng = random.Random(f"crop/{seed}")
        drawn = rng.randrange(len(self.files))
        picture = self._picture(drawn if index is None else index % len(self.files))
        scale = rng.choice(self.scales) if len(self.scales) > 1 else min(self.scales)
        side = min(round(self.size / scale), *picture.shape[-2:])
        top, left = (rng.randrange(n - side + 1) for n in picture.shape[-2:])
        square = picture[:, top : top + side, left : left + side].expand(3, -1, -1)
        if square.dtype == torch.uint8:
            square = square / 255
        if side != self.size:
            square = resize(square[None], (self.size, self.size))[0].clamp(0, 1)
        return square.flip(2) if self.flip and rng.random() < 0.5 else square

    def judged(self, count: int) -> Tensor:
        """Squares to judge by, N 3 S S in 0..1: those of seed i, from picture i."""
        return torch.stack([self(i, i) for i in range(count)])

    def _picture(self, index: int) -> Tensor:
        """Decoded, C H W, or the next one that can be read; 8-bit pictures stay in memory as such while there
        is room.
        """
        path = self.files[index]
        if path in self.decoded:
            return self.decoded[path]
        following = ((one.name, one) for one in self.files[index:] + self.files[:index])
        _, found = next(sound(following, read))
        pixels = found.pixels[0]
        if found.bits == 8 and sum(x.numel() for x in list(self.decoded.values())) + pixels.numel() <= KEPT:
            self.decoded[path] = to_uint8(pixels)
        return pixels


@dataclass(frozen=True)
class Pairs:
    """Crops and their degradations; each pair depends on its seed alone."""

    crops: Crops
    recipe: Recipe
    workers: int = 1  # pairs that are made at once
    before: Step | None = None  # what is done to the truth first
    undamaged: float = 0.0  # share of the crops that are not degraded, and keep their size

    def __call__(self, seeds: Sequence[int], in_order: bool = False) -> tuple[Tensor, Tensor]:
        """uint8 truth B 3 S S and degraded B 3 s s; in order, pair i is of picture i."""
        truth, low = self.apart(seeds, in_order)
        return truth, torch.stack(low)

    def apart(self, seeds: Sequence[int], in_order: bool = False) -> tuple[Tensor, list[Tensor]]:
        """The same with the degraded ones by themselves, 3 s s each: those that are not are larger."""
        with ThreadPoolExecutor(self.workers) as pool:
            made = pool.map(self._one, seeds, range(len(seeds)) if in_order else [None] * len(seeds))
            truth, low = zip(*made, strict=True)
        return torch.stack(truth), list(low)

    def _one(self, seed: int, index: int | None) -> tuple[Tensor, Tensor]:
        truth = self.crops(seed, index)
        if self.before is not None:
            truth = self.before(truth, size_of(truth))
        if random.Random(f"undamaged/{seed}").random() < self.undamaged:
            return to_uint8(truth), to_uint8(truth)
        return to_uint8(truth), to_uint8(self.recipe.draw(seed)(truth))


def enlarged(low: Sequence[Tensor] | Tensor, size: int, kernel: str = "bicubic") -> Tensor:
    """uint8 pictures 3 s s as B 3 size size in -1..1, enlarged as pictures are before they are restored."""
    together = [low] if isinstance(low, Tensor) else [x[None] for x in low]
    return torch.cat([enlarge_by(x / 255, (size, size), kernel).clamp(0, 1) * 2 - 1 for x in together])
