"""Remake the icon and the pictures of README, core.md, diffsr.md, faces.md: python docs/make_pictures.py.

Those of the workflow templates are made on a host, by tests/host/thumbnails.py.
"""

from __future__ import annotations

import math
import re
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from face_pictures import faces, levels

from priorsr.methods.cli import demo
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.samplers.denoiser import Cond, Prediction, from_x0
from priorsr.samplers.karras import Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, Level, karras_sigmas
from priorsr.samplers.transition import DDPM

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        demo.main(folder)
        for name in ("comparison", "old_photograph"):
            write(read(Path(folder) / f"{name}.png"), ROOT / "docs" / f"{name}.png", overwrite=True)
    write(Picture(icon()), ROOT / "docs" / "icon.png", overwrite=True)
    core(ROOT / "docs" / "core.png")
    faces(ROOT / "docs")
    levels(ROOT / "docs" / "face.png")


def icon(size: int = 256) -> torch.Tensor:
    """A disc that goes from coarse pixels on the left to a smooth edge on the right."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    disc = ((0.36 - torch.hypot(x, y)) * size).clamp(0, 1)[None, None]
    coarse = resize(resize(disc, (8, 8), method="area"), (size, size), method="nearest")
    shape = torch.where(x < 0, coarse, disc)
    low, high = torch.tensor([0.08, 0.10, 0.16]), torch.tensor([0.98, 0.72, 0.22])
    return low[:, None, None] + shape * (high - low)[:, None, None]


class Peaks:
    """Three equal Gaussians of one width in the plane; points are B 2 1 1."""

    centres = torch.tensor([[math.cos(a), math.sin(a)] for a in (0.5, 2.6, 4.7)]) * 1.6
    std = 0.12

    def __call__(self, x: torch.Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        variance = level.alpha**2 * self.std**2 + level.sigma**2
        away = x.flatten(1)[:, None] - level.alpha * self.centres
        share = torch.softmax(-away.square().sum(2) / (2 * variance), 1)[..., None]
        x0 = (share * (self.centres + level.alpha * self.std**2 / variance * away)).sum(1)
        return from_x0(x, level, x0.view_as(x))


def core(path: Path) -> None:
    """Trajectories of three transitions above what the example of core.md computes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    for axes, (name, transition, steps) in zip(
        top.subplots(1, 3, sharex=True, sharey=True),
        (
            ("Euler, 15 steps [15 calls]", Euler(), 15),
            ("Heun, 8 steps [15 calls]", Heun(), 8),
            ("DDPM, 40 steps [40 calls]", DDPM(), 40),
        ),
        strict=True,
    ):
        trajectories(axes, transition, steps)
        axes.set_title(name, fontsize=10)
    example = shown_example()
    enlarged = resize(example["y"], (64, 64), method="nearest")
    pictures = {
        "y: 16 x 16 pixels": enlarged[0],
        "sample, seed 1": example["samples"][0],
        "sample, seed 2": example["samples"][1],
        "the picture that y was made of": example["truth"][0],
    }
    for axes, (name, picture) in zip(bottom.subplots(1, 4), pictures.items(), strict=True):
        axes.imshow(picture[0], cmap="gray", vmin=-0.8, vmax=0.8, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    figure.savefig(path, dpi=100, bbox_inches="tight", metadata={"Software": None})


def trajectories(axes, transition, steps: int) -> None:
    """The paths of 30 points from noise to the peaks, on variance-preserving levels."""
    levels = [
        *(Level(s, 1 / math.hypot(1, s), s / math.hypot(1, s)) for s in karras_sigmas(steps, 0.02, 20)),
        CLEAN,
    ]
    noise = Noise(range(30))
    states = [noise((30, 2, 1, 1))]
    run(Peaks(), states[0], levels, transition, noise=noise, on_step=lambda step, x: states.append(x))
    paths = torch.stack(states).flatten(2)
    axes.plot(paths[..., 0], paths[..., 1], color="0.45", linewidth=0.6, alpha=0.7)
    axes.scatter(*paths[0].T, s=6, color="0.2", zorder=2)
    axes.scatter(*paths[-1].T, s=9, color="tab:orange", zorder=3)
    for centre in Peaks.centres.tolist():
        axes.add_patch(circle(centre, 2 * Peaks.std))
    axes.set(aspect="equal", xlim=(-2.8, 2.8), ylim=(-2.4, 2.4), xticks=[], yticks=[])


def circle(centre: list[float], radius: float):
    from matplotlib.patches import Circle

    return Circle(centre, radius, fill=False, color="tab:blue", linewidth=1, zorder=4)


def shown_example() -> dict:
    """The names that the first example of core.md leaves."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "core.md").read_text(encoding="utf-8"), re.S)[1]
    names: dict = {}
    with redirect_stdout(StringIO()):
        exec(compile(code, "docs/core.md", "exec"), names)  # noqa: S102 (our own text)
    return names


if __name__ == "__main__":
    main()
