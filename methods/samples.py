"""Sample pictures that come along, whole or damaged, so that everything can be tried without one's own."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from .degrade import Recipe, degrade
from .degrade.steps import Blur, GaussianNoise, Jpeg, Resample
from .imaging.images import read
from .imaging.resize import resize
from .metrics.faces import reduced

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "sample"
HUNG = ((60, 478, 150), (280, 490, 124))  # top, left and height of each portrait on the wall, in pixels
HEAD = slice(10, 210), slice(70, 270)  # of the portrait: rows and columns that hang there
FRAME = 8  # pixels of the white mat around each
PICTURES = ("face", "tight face", "portrait", "small faces", "photograph")
FILES = {"face": "face.png", "tight face": "astronaut.png", "portrait": "portrait.png"}
DAMAGES = ("none", "small x2", "small x4", "small x8", "old")
OLD = Recipe("old", (Blur(9, 1.0), Resample(0.5), GaussianNoise(5.0), Jpeg(60)))  # scanned and sent around


def sample(name: str) -> Tensor:
    """A picture 1 3 H W in 0..1 by its name: a face of 128 pixels, aligned as in FFHQ or from chin to
    forehead, a portrait, two dogs with two portraits on the wall behind them, or the dogs alone. Raises
    ValueError.
    """
    if name not in PICTURES:
        raise ValueError(f"there is no sample {name!r}: choose one of {', '.join(PICTURES)}")
    if name in FILES:
        return read(FOLDER / FILES[name]).pixels
    picture = read(FOLDER / "dogs.png").pixels
    if name == "photograph":
        return picture
    picture = resize(picture, scale=2.0).clamp(0, 1)
    portrait = read(FOLDER / "portrait.png").pixels[..., HEAD[0], HEAD[1]]
    for top, left, side in HUNG:
        mat = picture[..., top - FRAME : top + side + FRAME, left - FRAME : left + side + FRAME]
        mat.fill_(0.93)
        mat[..., FRAME:-FRAME, FRAME:-FRAME] = resize(portrait, (side, side)).clamp(0, 1)
    return picture


def damaged(picture: Tensor, damage: str) -> Tensor:
    """1 3 H W in 0..1, reduced by an antialiased bicubic kernel, or half as large, blurred, noisy and
    compressed as old photographs are, rounded to 8 bits. Raises ValueError.
    """
    if damage not in DAMAGES:
        raise ValueError(f"there is no damage {damage!r}: choose one of {', '.join(DAMAGES)}")
    if damage == "none":
        return picture
    if damage == "old":
        return degrade(picture, OLD, [0])[0]
    return reduced(picture, int(damage.removeprefix("small x")))
