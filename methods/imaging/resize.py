"""Separable linear resampling: every filter, border rule and adjoint of the package.

One engine serves image resizing (equal to Pillow and torch with antialiasing), MATLAB's imresize and the
measurement operator of DPS: an axis is a table of taps, applied as small dense matrices along its band.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .strips import laid

BLOCK = 256  # outputs per dense band: large enough for matmul to be efficient, small enough to stay narrow
REACH = 4 * BLOCK  # inputs that a band sees at most, about
MAX_SIDE = 65_536


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys' cubic convolution kernel (IEEE TASSP 1981, Eq. 4)."""

    def kernel(d: np.ndarray) -> np.ndarray:
        d = np.abs(d)
        d2, d3 = d**2, d**3
        near = (a + 2) * d3 - (a + 3) * d2 + 1
        far = a * d3 - 5 * a * d2 + 8 * a * d - 4 * a
        return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))

    return kernel


def _lanczos3(d: np.ndarray) -> np.ndarray:
    return np.where(np.abs(d) < 3, np.sinc(d) * np.sinc(d / 3), 0.0)


def _triangle(d: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(d), 0, None)


KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {  # name: (kernel, support width)
    "bilinear": (_triangle, 2.0),
    "bicubic": (_cubic(-0.5), 4.0),
    "bicubic-0.75": (_cubic(-0.75), 4.0),  # OpenCV's and torch's coefficient without antialiasing
    "lanczos": (_lanczos3, 6.0),
}
METHODS = ("nearest", "area", *KERNELS)
BORDERS = ("renormalise", "mirror", "edge")
PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, eq=False)
class Axis:
    """Taps of one axis: output o is sum_k weight[k, o] * x[index[k, o]]; both tables are (taps, out)."""

    size: int
    index: np.ndarray
    weight: np.ndarray

    @property
    def out(self) -> int:
        return self.index.shape[1]

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """First input touched by outputs start..stop, and how many inputs they span."""
        index = self.index[:, start:stop]
        return int(index.min()), int(index.max()) + 1 - int(index.min())

    def dense(self, start: int, stop: int) -> np.ndarray:
        """Outputs start..stop as a (stop - start, inputs) matrix on the inputs they reach."""
        first, span = self.reach(start, stop)
        index, weight = self.index[:, start:stop], self.weight[:, start:stop]
        matrix = np.zeros((stop - start, span))
        np.add.at(matrix, (np.broadcast_to(np.arange(stop - start), index.shape), index - first), weight)
        return matrix


@lru_cache(maxsize=128)
def axis(
    size: int,
    out: int,
    scale: float,
    method: str = "bicubic",
    antialias: bool = True,
    border: str = "renormalise",
    centred: bool = False,
) -> Axis:
    """The table that resamples `size` pixels to `out` at `scale`, pixel centres aligned at (j + 0.5) / scale
    - 0.5.

    border: `renormalise` drops taps outside the image (Pillow, torch), `mirror` reflects with the edge
    repeated (MATLAB, the DPS resizer), `edge` repeats the edge (OpenCV). centred: when out != size * scale,
    share the excess between both ends (the DPS resizer) instead of letting it hang over the last pixel
    (MATLAB).
    """
    if method not in METHODS:
        raise ValueError(f"unknown resize method {method!r}: choose one of {', '.join(METHODS)}")
    if border not in BORDERS:
        raise ValueError(f"unknown border {border!r}: choose one of {', '.join(BORDERS)}")
    excess = (out - size * scale) / 2 if centred else 0.0
    position = np.arange(out, dtype=np.float64) - excess
    if method == "nearest":
        centre = np.round(
            (position + 0.5) / scale, 9
        )  # a centre on a pixel's edge belongs to the later pixel, whatever the rounding
        index = np.clip(np.floor(centre), 0, size - 1).astype(np.int64)[None]
        return Axis(size, index, np.ones_like(index, dtype=np.float64))
    if method == "area":
        left = np.floor(position / scale)
        index = left + np.arange(math.ceil(1 / scale) + 1)[:, None]
        weight = np.clip(
            np.minimum(index + 1, (position + 1) / scale) - np.maximum(index, position / scale), 0, None
        )
    else:
        kernel, width = KERNELS[method]
        shrink = min(scale, 1.0) if antialias else 1.0
        # counted from 1, so that rounding, and with it which taps are exactly zero, is that of the published
        # tables
        centre = (np.arange(1, out + 1, dtype=np.float64) - excess) / scale + 0.5 * (1 - 1 / scale)
        index = np.floor(centre - width / shrink / 2) - 1 + np.arange(math.ceil(width / shrink) + 2)[:, None]
        weight = kernel((centre - index - 1) * shrink)
    if border == "renormalise":
        weight = np.where((index >= 0) & (index < size), weight, 0.0)
    weight = weight / weight.sum(0)
    if border == "mirror":
        wrapped = np.mod(index, 2 * size)
        index = np.minimum(wrapped, 2 * size - 1 - wrapped)
    used = np.any(
        weight != 0, axis=1
    )  # taps that are zero for every output cost time and belong to no published table
    return Axis(size, np.clip(index, 0, size - 1).astype(np.int64)[used], weight[used])


class Resampler:
    """A linear operator A from (H, W) to another size, with its exact adjoint.

    Give `size` (out H, out W) or one `scale`; with a scale the output size is ceil(in * scale). Acts on the
    last two axes of float tensors of any range. Keeps the matrices it made, so that a sampler that holds one
    makes them once.
    """

    def __init__(
        self,
        in_size: tuple[int, int],
        size: tuple[int, int] | None = None,
        scale: float | None = None,
        method: str = "bicubic",
        antialias: bool = True,
        border: str = "renormalise",
        centred: bool = False,
    ):
        if min(in_size) < 1:
            raise ValueError(f"cannot resize an image of size {in_size[0]}x{in_size[1]}: it has no pixels")
        if scale is None and size is not None:
            scales = (size[0] / in_size[0], size[1] / in_size[1])
        elif scale is not None and size is None:
            scales = check_scale(scale), check_scale(scale)
            size = enlarged_size(in_size, scale)
        else:
            raise ValueError("give either a size or a scale to resize to")
        if min(size) < 1 or max(size) > MAX_SIDE:
            raise ValueError(
                f"cannot resize to {size[0]}x{size[1]}: each side must lie between 1 and {MAX_SIDE}"
            )
        self.in_size, self.out_size = (in_size[0], in_size[1]), (size[0], size[1])
        self.rows, self.cols = (
            axis(n, m, s, method, antialias, border, centred)
            for n, m, s in zip(in_size, size, scales, strict=True)
        )
        self._bands: dict[tuple, tuple[int, Tensor]] = {}
        self._inverses: dict[tuple, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """A x, shape ... H W to ... H' W'."""
        return self.window(x, (0, self.out_size[0]), (0, self.out_size[1]))

    def window(self, x: Tensor, rows: tuple[int, int], cols: tuple[int, int]) -> Tensor:
        """Only the outputs rows[0]:rows[1], cols[0]:cols[1], equal to that part of A x, at that part's
        cost.
        """
        _check(x, self.in_size)
        (top, over_rows), (left, over_cols) = (
            a.reach(*span) for a, span in ((self.rows, rows), (self.cols, cols))
        )
        part = x[..., top : top + over_rows, left : left + over_cols]
        steps = [(self.rows, rows, top, -2), (self.cols, cols, left, -1)]
        steps.sort(
            key=lambda s: (s[1][1] - s[1][0]) / part.shape[s[3]]
        )  # shrink first: less work for the second axis
        for table, span, first, dim in steps:
            part = self._along(part, table, span, first, dim)
        return part

    def adjoint(self, g: Tensor) -> Tensor:
        """A^T g, shape ... H' W' to ... H W, exact to rounding: <A x, g> = <x, A^T g>."""
        _check(g, self.out_size)
        return self._transpose(self._transpose(g, self.cols, -1), self.rows, -2)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """A^+ y, shape ... H' W' to ... H W, for a reduction: the smallest x with A x = y, exact to
        rounding.
        """
        _check(y, self.out_size)
        return self.adjoint(self._solve(self._solve(y, self.cols, -1), self.rows, -2))

    @torch.inference_mode(False)
    def _solve(self, y: Tensor, table: Axis, dim: int) -> Tensor:
        """(A A^T)^-1 along one axis, which has as many unknowns as outputs."""
        key = (id(table), y.device, _sums(y.dtype))
        if key not in self._inverses:
            matrix = torch.from_numpy(table.dense(0, table.out))
            gram = matrix @ matrix.T
            if torch.linalg.cond(gram) > 1e8:
                raise ValueError(f"{table.size} to {table.out} pixels cannot be undone: only reductions can")
            self._inverses[key] = torch.linalg.inv(gram).to(y.device, _sums(y.dtype))
        return _multiply(self._inverses[key], y, dim).to(y.dtype)

    def _along(self, x: Tensor, table: Axis, span: tuple[int, int], offset: int, dim: int) -> Tensor:
        # strong reductions see many inputs for each output, few of which their neighbours see too
        step = max(1, min(BLOCK, REACH * table.out // table.size))

        def part(start: int) -> Tensor:
            first, matrix = self._band(table, start, min(start + step, span[1]), x)
            return _multiply(matrix, x.narrow(dim, first - offset, matrix.shape[1]), dim).to(x.dtype)

        return laid(map(part, range(*span, step)), span[1] - span[0], dim)

    def _transpose(self, g: Tensor, table: Axis, dim: int) -> Tensor:
        shape = list(g.shape)
        shape[dim] = table.size
        out = g.new_zeros(shape, dtype=_sums(g.dtype))
        for start in range(0, table.out, BLOCK):
            stop = min(start + BLOCK, table.out)
            first, matrix = self._band(table, start, stop, g)
            out.narrow(dim, first, matrix.shape[1]).add_(
                _multiply(matrix.T, g.narrow(dim, start, stop - start), dim)
            )
        return out.to(g.dtype)

    @torch.inference_mode(False)  # a matrix made in inference mode could not serve a gradient later
    def _band(self, table: Axis, start: int, stop: int, x: Tensor) -> tuple[int, Tensor]:
        """First input of outputs start..stop and their matrix, where and as x needs it."""
        key = (id(table), start, stop, x.device, _sums(x.dtype))
        if key not in self._bands:
            self._bands[key] = (
                table.reach(start, stop)[0],
                torch.from_numpy(table.dense(start, stop)).to(*key[3:]),
            )
        return self._bands[key]


def resize(
    x: Tensor,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    method: str = "bicubic",
    antialias: bool = True,
    border: str = "renormalise",
    centred: bool = False,
) -> Tensor:
    """Resize the last two axes of a float tensor; see `Resampler` and `axis`.

    Values are not clipped (cubic and Lanczos overshoot).
    """
    return Resampler(size_of(x), size, scale, method, antialias, border, centred)(x)


ENLARGEMENTS = ("bicubic-0.75", "bicubic")


def enlarge_by(x: Tensor, size: tuple[int, int], kernel: str = "bicubic") -> Tensor:
    """Enlarge the last two axes bicubically: `bicubic-0.75` as torch does without antialiasing (a = -0.75,
    the edge repeated), `bicubic` as `resize` does (a = -0.5), which also reduces.
    """
    larger = all(n >= m for n, m in zip(size, size_of(x), strict=True))
    if kernel == ENLARGEMENTS[0] and larger and size != size_of(x):
        return resize(x, size, method=kernel, antialias=False, border="edge")
    return resize(x, size)


def resize_uint8(x: Tensor, size: tuple[int, int], method: str = "bicubic") -> Tensor:
    """Resize a uint8 C H W picture exactly as Pillow does, 8-bit rounding between the two axes included."""
    if x.dtype != torch.uint8 or x.ndim != 3:
        raise ValueError(f"resize_uint8 takes a uint8 tensor C H W, not {x.dtype} of {x.ndim} axes")
    if method not in PILLOW:
        raise ValueError(f"unknown resize method {method!r}: choose one of {', '.join(PILLOW)}")
    planes = [Image.fromarray(plane.numpy()).resize((size[1], size[0]), PILLOW[method]) for plane in x.cpu()]
    return torch.stack([torch.from_numpy(np.array(p)) for p in planes])


def modcrop(x: Tensor, scale: int) -> Tensor:
    """Cut the bottom and right so that both sides are multiples of `scale`."""
    return x[..., : x.shape[-2] // scale * scale, : x.shape[-1] // scale * scale]


def size_of(x: Tensor) -> tuple[int, int]:
    """(H, W) of ... H W."""
    height, width = x.shape[-2:]
    return height, width


def enlarged_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(H, W) of a picture of h x w enlarged, each rounded as `scaled_size` does."""
    height, width = size
    return scaled_size(height, scale), scaled_size(width, scale)


def scaled_size(size: int, scale: float) -> int:
    """ceil(size * scale), forgiving the last digits of a scale such as 1 / 3."""
    return math.ceil(round(size * scale, 6))


def check_scale(scale: float, limit: float = 64.0) -> float:
    """The scale as a float. Raises ValueError when it is not a number in 1/limit .. limit."""
    if not math.isfinite(scale) or not 1 / limit <= scale <= limit:
        raise ValueError(
            f"scale {scale:g} is outside 1/{limit:g} .. {limit:g}: give a positive scale within these limits"
        )
    return float(scale)


def scale_for(longest: int, size: tuple[int, int]) -> float:
    """The scale that makes the longer side of h x w exactly `longest` pixels.

    Raises ValueError for scales beyond check_scale's.
    """
    return check_scale(longest / max(size))


def _check(x: Tensor, size: tuple[int, int]) -> None:
    if not x.is_floating_point():
        raise ValueError(
            f"resizing needs a float tensor, not {x.dtype}: convert it first (resize_uint8 keeps 8 bits)"
        )
    if size_of(x) != size:
        raise ValueError(
            f"this operator is built for {size[0]}x{size[1]}, the tensor is {x.shape[-2]}x{x.shape[-1]}"
        )


def _sums(dtype: torch.dtype) -> torch.dtype:
    return (
        dtype if dtype == torch.float64 else torch.float32
    )  # half precision images are summed in float32 and rounded once


def _multiply(matrix: Tensor, x: Tensor, dim: int) -> Tensor:
    x = x.to(matrix.dtype)
    return matrix @ x if dim == -2 else x @ matrix.T
