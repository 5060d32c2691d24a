"""Remake the pictures of stablesr.md: python docs/make_stablesr.py."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from priorsr.methods.imaging.images import read
from priorsr.methods.stablesr.color_fix import METHODS, color_fix
from priorsr.methods.stablesr.levels import CHAIN, levels_of, released_ddim
from priorsr.methods.stablesr.prior import WEIGHTS
from priorsr.samplers.denoiser import Prediction
from priorsr.samplers.schedule import CLEAN
from priorsr.samplers.tiled import Tiled, gaussian_weights, ramp_weights

DOCS = Path(__file__).resolve().parent
TILE, OVERLAP, LENGTH = 64, 32, 128  # latent pixels
STYLES = {
    "symmetric": ("tab:blue", "-"),
    "published": ("tab:orange", "--"),
    "wide": ("0.5", ":"),
    "ramp": ("tab:green", "-"),
}


def main() -> None:
    colours(DOCS / "stablesr_colour.png")
    tiles(DOCS / "stablesr_tiles.png")
    levels(DOCS / "stablesr_levels.png")


def figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(made, path: Path) -> None:
    """In 256 colours, which a photograph needs a third of the bytes in."""
    file = BytesIO()
    made.savefig(file, dpi=100, metadata={"Software": None})
    Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def cast(x: torch.Tensor) -> torch.Tensor:
    """A picture in 0..1 made warm and flat, and one side of it darker and green."""
    warm = 0.1 + 0.8 * x * torch.tensor([1.1, 0.95, 0.75])[:, None, None]
    side = torch.linspace(1, 0, x.shape[-1]) ** 2
    return (warm - side * torch.tensor([0.16, 0.02, 0.1])[:, None, None]).clamp(0, 1)


def colours(path: Path) -> None:
    """What colour correction undoes of a made-up cast."""
    source = read(DOCS / "sample" / "dogs.png").pixels[..., 10:346, :]
    damaged = cast(source)
    pictures = {"the input, whose colours are wanted": source, "a result with a cast": damaged}
    pictures |= {name: color_fix(damaged, source, name) for name in METHODS}
    made = figure(9, 2.5)
    for axes, (name, picture) in zip(made.subplots(1, len(pictures)), pictures.items(), strict=True):
        off = (picture - source).abs().mean().item() * 255
        axes.imshow(picture[0].movedim(0, -1), interpolation="lanczos")
        axes.set_title(name if picture is source else f"{name}: off by {off:.1f} of 255", fontsize=8)
        axes.set_axis_off()
    save(made, path)


def blends(overlap: int) -> dict:
    """How each kind of weights is called for tiles that overlap by so much."""
    return {**WEIGHTS, "wide": gaussian_weights, "ramp": partial(ramp_weights, overlap=overlap)}


class Alternating:
    """The identity, but each tile in turn is brighter by 1 than the one before or as dark."""

    def __init__(self):
        self.bright = True

    def __call__(self, x: torch.Tensor, level, cond=None) -> Prediction:
        self.bright = not self.bright
        return Prediction(x + float(self.bright), x[:, :0])


def tiles(path: Path) -> None:
    """Blending of tiles along one line: the weights, and what is left of tiles that disagree."""
    made = figure(9, 3.2)
    left, middle, right = made.subplots(1, 3, width_ratios=(1, 1, 1.2))
    place = torch.arange(TILE) + 0.5
    for name, weights in blends(OVERLAP).items():
        along = weights(TILE, TILE)[:, TILE // 2]
        left.plot(place, along / along.max(), **style(name), label=name)
    left.set(title="weights of a tile, downwards", xlabel="latent pixel", xticks=range(0, TILE + 1, 16))
    made.legend(fontsize=8, loc="outside lower center", ncols=len(STYLES))
    for name in ("symmetric", "published"):
        upper, lower = (
            WEIGHTS[name](TILE, TILE)[first : first + OVERLAP, TILE // 2] for first in (TILE - OVERLAP, 0)
        )
        middle.plot(torch.arange(OVERLAP) + 0.5, lower / (upper + lower), **style(name))
    middle.axvline(OVERLAP / 2, color="0.8", linewidth=0.8)
    middle.set(title="share of the lower of two tiles", xlabel="latent pixel of the overlap", xlim=(10, 22))
    flat = torch.zeros(1, 1, TILE, LENGTH)
    for name, weights in blends(OVERLAP).items():
        if name != "published":  # whose shift is the other way
            blended = Tiled(Alternating(), TILE, OVERLAP, 1, weights)(flat, CLEAN).x0[0, 0, 0]
            right.step(torch.arange(LENGTH) + 0.5, blended, **style(name), where="mid")
    right.set(
        title="three tiles, the second brighter by 1",
        xlabel="latent pixel",
        xticks=range(0, LENGTH + 1, OVERLAP),
    )
    right.grid(axis="x", color="0.85")
    for axes in (left, middle, right):
        axes.title.set_fontsize(9)
    save(made, path)


def levels(path: Path) -> None:
    """Where runs start and which levels they visit."""
    made = figure(9, 3)
    left, right = made.subplots(1, 2)
    left.plot(
        [level.t for level in CHAIN.table], [level.alpha for level in CHAIN.table], color="0.6", linewidth=1
    )
    for steps, colour, size in ((20, "tab:blue", 12), (4, "tab:orange", 40)):
        visited = levels_of("ddpm", steps)[:-1]
        left.scatter(
            [level.t for level in visited],
            [level.alpha for level in visited],
            s=size,
            color=colour,
            label=f"{steps} steps",
        )
    top = CHAIN.table[-1]
    left.annotate(
        f"start lr keeps {top.alpha:.3f} of the input",
        (top.t, top.alpha),
        (230, 0.1),
        fontsize=8,
        arrowprops={"arrowstyle": "-"},
    )
    left.set(xlabel="training step t", ylabel="share of the picture, alpha", title="levels of spaced DDPM")
    left.legend(fontsize=8)
    steps, table = 5, CHAIN.table
    clock = released_ddim(steps)
    heard, meant = (
        [level.t for level in clock],
        [min(table, key=lambda known: abs(known.alpha - level.alpha)).t for level in clock],
    )
    right.plot(range(steps), heard, "o-", color="tab:blue", label="what the network is told")
    right.plot(range(steps), meant, "s--", color="tab:orange", label="whose noise the sampler takes away")
    right.set(
        xlabel="step", ylabel="training step t", title=f"ddim-released in {steps} steps", xticks=range(steps)
    )
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.title.set_fontsize(9)
    save(made, path)


def style(name: str) -> dict:
    """Colour and line of a curve, as plot takes them."""
    colour, line = STYLES[name]
    return {"color": colour, "linestyle": line, "linewidth": 1.3}


if __name__ == "__main__":
    main()
