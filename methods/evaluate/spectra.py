"""Results of a study by frequency (Diff-SR, appendix E)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..imaging.color import grey
from ..imaging.images import read
from ..metrics.spectrum import SPLIT, amplitudes

MAPS = 8  # runs whose maps are shown


def spectra(out: Path, path: Path) -> None:
    """Of every scale below `out` (rows): amplitude by frequency of all pictures of each run, and maps of the
    first one, as PNG; a file of that name is replaced.
    """
    from matplotlib.figure import Figure

    from ..imaging.replacing import replacing

    places = sorted({p.parent for p in out.glob("x*/*.json")})
    runs = [_runs(place) for place in places]
    columns = 1 + min(MAPS, max(len(some) for some in runs))
    figure = Figure(figsize=(3 + 1.8 * columns, 2.6 * len(places)), dpi=100, layout="constrained")
    widths = [2.0, *[1.0] * (columns - 1)]
    grid = figure.subplots(len(places), columns, squeeze=False, gridspec_kw={"width_ratios": widths})
    for line, place, some in zip(grid, places, runs, strict=True):
        for label, folder in some:
            mean, radius = _curve(sorted(folder.glob("*.png")))
            line[0].semilogy(radius, mean, label=label, lw=2 if label == "truth" else 1)
        line[0].axvline(SPLIT, ls=":", color="grey")
        line[0].set_title(place.name, fontsize=9)
        line[0].set_xlabel("cycles a pixel", fontsize=8)
        line[0].legend(fontsize=6)
        for axes, shown in zip(line[1:], [*some, *[None] * columns], strict=False):
            axes.set_axis_off()
            if shown:
                axes.imshow(_map(sorted(shown[1].glob("*.png"))[0]), cmap="magma")
                axes.set_title(shown[0], fontsize=7)
    with replacing(path, True) as partial:
        figure.savefig(partial, format="png")


def _runs(place: Path) -> list[tuple[str, Path]]:
    """The truth and every run of a scale, a name and a folder each."""
    found = {"truth": place / "truth"}
    for record in sorted(place.glob("*.json")):
        label = json.loads(record.read_text(encoding="utf-8"))["label"]
        found.setdefault(label, place / record.name.rsplit(".", 2)[0])
    return list(found.items())


def _curve(files: Sequence[Path]) -> tuple[list[float], list[float]]:
    curves = [amplitudes(_luma(path)) for path in files]
    radius = curves[0][1]
    alike = [mean for mean, other in curves if other.shape == radius.shape]
    return torch.stack(alike).mean(0).tolist(), radius.tolist()


def _map(path: Path) -> Tensor:
    return torch.fft.fftshift(torch.fft.fft2(_luma(path)[0, 0]).abs()).clamp(min=1e-3).log()


def _luma(path: Path) -> Tensor:
    return grey(read(path).pixels[0])[None]
