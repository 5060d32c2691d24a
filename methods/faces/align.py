"""Where a face goes: the five-point template, the similarity that takes landmarks to it, and pictures warped
by it.

Matrices are N 2 3, float64, from pixels (x, y, 1) to pixels, the centre of the first pixel being 0, 0.
"""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.resize import resize, size_of

SIDE = 512
FRAMES = {  # landmarks in a square of 512: eyes, nose, corners of the mouth, left to right
    # from chin to forehead: means over 98 faces of the crops that the shipped prior was trained on, made
    # symmetric
    "tight": ((163.6, 200.1), (348.4, 200.1), (256.0, 309.9), (175.5, 397.0), (336.5, 397.0)),
    "ffhq": (
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ),
}
BORDER = (132 / 255, 133 / 255, 135 / 255)  # RGB of what lies beyond the picture, as published
STEPS = 32  # positions a pixel at which OpenCV 4 samples
SHRINK = 1.5  # beyond this reduction bilinear sampling skips pixels


def template(size: int = SIDE, frame: str = "ffhq") -> Tensor:
    """Where the five landmarks of an aligned face of `size` pixels lie: 5 2."""
    if frame not in FRAMES:
        raise ValueError(f"there is no frame {frame!r}: choose one of {', '.join(FRAMES)}")
    return torch.tensor(FRAMES[frame], dtype=torch.float64, device="cpu") * size / SIDE


def fit_similarity(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Least-squares rotation, scale and shift of points ... n 2 to points ... n 2: ... 2 3; weights ... n.

    NaN where all points coincide.
    """
    source, target = source.double(), target.double()
    w = torch.ones_like(source[..., 0]) if weights is None else weights.double()
    w = (w / w.sum(-1, keepdim=True))[..., None]
    a, b = (w * source).sum(-2, keepdim=True), (w * target).sum(-2, keepdim=True)
    p, q = source - a, target - b
    spread = (w * p.square()).sum((-2, -1))
    cos = (w * p * q).sum((-2, -1)) / spread
    sin = (w[..., 0] * (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0])).sum(-1) / spread
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return torch.cat([turn, b.mT - turn @ a.mT], -1)


def robust_similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The least-median-of-squares similarity of N n 2 to n 2 or N n 2, and which points it trusts (N, n).

    The pair of points whose exact similarity has the smallest median residual decides, over all pairs; the
    points that agree with it are fitted by least squares. Raises ValueError where no two points differ.
    Source: Rousseeuw & Leroy 1987.
    """
    source = source.double()
    target = target.double().expand_as(source)
    n = source.shape[-2]
    pairs = torch.zeros(n * (n - 1) // 2, n, dtype=torch.float64, device="cpu")
    for row, pair in zip(pairs, combinations(range(n), 2), strict=True):
        row[list(pair)] = 1
    exact = fit_similarity(source[:, None], target[:, None], pairs)
    residuals = (
        (transform(exact, source[:, None]) - target[:, None]).square().sum(-1).nan_to_num(nan=torch.inf)
    )
    medians, best = residuals.sort(-1).values[..., n // 2].min(1)
    if not torch.isfinite(medians).all():
        raise ValueError("the landmarks of a face coincide: it cannot be aligned; drop it or give others")
    limit = (2.5 * 1.4826 * (1 + 5 / (n - 2)) * medians.sqrt()).clamp(min=0.001).square()
    trusted = residuals[torch.arange(len(source), device="cpu"), best] <= limit[:, None]
    return fit_similarity(source, target, trusted), trusted


def similarity(landmarks: Tensor, target: Tensor, robust: bool = True) -> Tensor:
    """Matrices N 2 3 that take landmarks N n 2 to the target, robustly or by plain least squares.

    Raises ValueError.
    """
    if robust:
        return robust_similarity(landmarks, target)[0]
    matrices = fit_similarity(landmarks, target.expand_as(landmarks))
    if not torch.isfinite(matrices).all():
        raise ValueError("the landmarks of a face coincide: it cannot be aligned; drop it or give others")
    return matrices


def transform(matrices: Tensor, points: Tensor) -> Tensor:
    """Points ... n 2 through matrices ... 2 3."""
    return points.double() @ matrices[..., :2].mT + matrices[..., 2][..., None, :]


def invert(matrices: Tensor) -> Tensor:
    linear = torch.linalg.inv(matrices[..., :2])
    return torch.cat([linear, -linear @ matrices[..., 2:]], -1)


def then(first: Tensor, second: Tensor) -> Tensor:
    """The matrices of one change of pixels after another."""
    linear = second[..., :2] @ first[..., :2]
    return torch.cat([linear, second[..., :2] @ first[..., 2:] + second[..., 2:]], -1)


def enlargement(factor: float, shift: float | None = None) -> Tensor:
    """2 3 that takes the pixels of a picture to those of one enlarged by `factor`, centres aligned unless
    another shift is given.
    """
    shift = (factor - 1) / 2 if shift is None else shift
    return torch.tensor([[factor, 0, shift], [0, factor, shift]], dtype=torch.float64, device="cpu")


def warp(
    x: Tensor,
    matrices: Tensor,
    size: tuple[int, int],
    fill: float | tuple[float, ...] | None = 0.0,
    reach: int = 0,
    steps: int = 0,
    method: str = "bilinear",
) -> Tensor:
    """Pictures N C H W, or one for all, through matrices N 2 3 to N C *size; bilinear, or bicubic, which
    overshoots.

    fill: what lies beyond the picture, by channel, or None for its repeated edge. reach: how many pixels the
    edge is repeated before the fill. steps: round where is sampled to so many positions a pixel (OpenCV 4 has
    32); 0 does not.
    """
    back = invert(matrices.cpu())  # places are doubles, which not every device has
    rows, cols = (torch.arange(n, dtype=torch.float64, device="cpu") for n in size)
    columns = cols[:, None] * back[:, None, :, 0] + back[:, None, :, 2]  # N w 2
    points = columns[:, None] + (rows[:, None] * back[:, None, :, 1])[:, :, None]  # N h w 2
    if steps:
        points = (points * steps + 0.5).floor() / steps
    sides = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float64, device="cpu")
    grid = ((2 * points + 1) / sides - 1).to(x)
    out = F.grid_sample(
        x.expand(len(back), -1, -1, -1), grid, method, padding_mode="border", align_corners=False
    )
    if fill is not None:
        inside = torch.minimum(points + 1 + reach, sides - points + reach).clamp(0, 1).prod(-1)[:, None].to(x)
        out = torch.as_tensor(fill, dtype=x.dtype, device=x.device).reshape(-1, 1, 1).lerp(out, inside)
    return out


def cut(x: Tensor, matrices: Tensor, size: int, published: bool = False, method: str = "bilinear") -> Tensor:
    """Aligned faces N 3 size size of one picture 1 3 H W in 0..1.

    Large faces are reduced without aliasing, and the picture's edge is repeated for two pixels, so that
    nothing of the fill comes back with the face. published: neither, and sampled at steps of 1/32 pixel.
    method: bilinear or bicubic sampling. Each face is cut from the part of the picture that it needs, which
    keeps memory within that of the faces.
    """
    corners = torch.tensor(
        [[-1, -1], [size, -1], [-1, size], [size, size]], dtype=torch.float64, device="cpu"
    )
    faces = []
    for matrix in matrices.cpu():
        rows, cols = window(transform(invert(matrix), corners), size_of(x), 2)
        part, shift = (
            x[..., rows, cols],
            torch.tensor([[1, 0, -cols.start], [0, 1, -rows.start]], dtype=torch.float64, device="cpu"),
        )
        matrix = then(invert(shift), matrix)
        shrink = 1 / matrix[:, :2].det().sqrt().item()
        if not published and shrink > SHRINK and part.numel():
            height, width = (max(1, round(n / shrink)) for n in part.shape[-2:])
            smaller = height, width
            factors = [small / n for small, n in zip(smaller, part.shape[-2:], strict=True)][::-1]
            part = resize(part, smaller, method="bilinear")
            scaled = torch.tensor([[f, f / 2 - 0.5] for f in factors], dtype=torch.float64, device="cpu")
            matrix = then(invert(torch.cat([torch.diag(scaled[:, 0]), scaled[:, 1:]], 1)), matrix)
        if part.numel() == 0:
            part, matrix = (
                x.new_zeros(1, x.shape[1], 1, 1),
                matrix - torch.tensor([[0, 0, 1e6]] * 2, dtype=torch.float32, device="cpu"),
            )  # a face wholly outside
        faces.append(
            warp(
                part, matrix[None], (size, size), BORDER, *((0, STEPS) if published else (2, 0)), method
            ).clamp(0, 1)
        )
    return torch.cat(faces) if faces else x.new_zeros(0, x.shape[1], size, size)


def window(points: Tensor, size: tuple[int, int], margin: int) -> tuple[slice, slice]:
    """Rows and columns of a picture of `size` (H, W) that hold points n 2 and so many pixels around them;
    empty when none do.
    """
    low, high = (
        (points.amin(0).floor() - margin).long().tolist(),
        (points.amax(0).ceil() + margin + 1).long().tolist(),
    )
    spans = [
        slice(min(max(a, 0), n), min(max(b, 0), n))
        for a, b, n in zip(low[::-1], high[::-1], size, strict=True)
    ]
    return spans[0], spans[1]
