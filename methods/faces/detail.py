"""How much detail a face has, whatever its number of pixels."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from ..imaging.color import grey
from ..imaging.resize import resize, size_of

SMALLEST = 16  # pixels across whose detail every face has
BANDS = 4  # to an octave
INNER = (0.2, 0.9), (0.2, 0.8)  # rows and columns that hold the face itself in FFHQ's frame
REFERENCE = 38  # bands below this side are in every face, and tell how contrasty it is
SHARE = 0.7  # of what a crisp face has in a band; less of it is not detail but what resampling left


def detail_side(face: Tensor) -> float:
    """Pixels across that hold what an aligned face 1 3 S S in 0..1 shows, at most S.

    A face cut out at its picture's own pixels keeps S where it is crisp, and has fewer where it was enlarged,
    out of focus or compressed away. The amplitudes of quarter octaves are compared with those of crisp faces,
    which fall with the square root of the side (measured on faces_rgb). A face of fewer pixels than can be
    told apart keeps S.
    """
    side = size_of(face)[0]
    count = math.floor(math.log2(side / SMALLEST) * BANDS) if side > SMALLEST else 0
    sides = [round(SMALLEST * 2 ** (i / BANDS)) for i in range(count + 1)]
    if sides[-1] <= REFERENCE:
        return float(side)
    rows, columns = (slice(round(a * side), round(b * side)) for a, b in INNER)
    y = grey(face.float())
    levels = [(resize(resize(y, (n, n)), (side, side)) if n < side else y)[..., rows, columns] for n in sides]
    amplitudes = [(b - a).square().mean().sqrt().item() for a, b in pairwise(levels)]
    upper = sides[1:]
    low = [a for a, n in zip(amplitudes, upper, strict=True) if n <= REFERENCE]
    reference = sum(low) / len(low)
    if not reference:
        return float(side)
    middle = math.sqrt(SMALLEST * REFERENCE)
    shares = [a / reference * math.sqrt(n / middle) / SHARE for a, n in zip(amplitudes, upper, strict=True)]
    last = max((i for i, share in enumerate(shares) if share >= 1), default=0)
    if last + 1 == len(upper):
        return float(side)
    above, below = shares[last], shares[last + 1]
    part = min(1.0, max(0.0, (above - 1) / (above - below))) if above > below else 0.0
    return min(float(side), upper[last] * (upper[last + 1] / upper[last]) ** part)
