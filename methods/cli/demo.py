"""`make demo`: restore two sample photographs with what is shipped, write the pictures, print a table against
bicubic.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..diffsr.method import PUBLISHED, diffsr_upscale
from ..imaging.images import Picture, read, to_uint8, write
from ..imaging.resize import resize, resize_uint8, size_of
from ..metrics.compare import compare, side_by_side
from ..priors.load import load_prior
from ..visionrefine.srcnn import SCALES, load_srcnn, srcnn_upscale

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "sample"
SHOWN = 3  # the scale whose pictures are kept
CROP = (slice(40, 232), slice(24, 216))
FACE_SCALE = 4
LEVELS = (10, 20, 30, 40, 50, 60, 70)  # of the sweep, in percent


def main(target: str = "demo") -> int:
    """Returns 0 when what is shipped beats bicubic."""
    folder = Path(target)
    better = photograph(folder)
    return 0 if face(folder) and better else 1


def photograph(folder: Path) -> bool:
    """Reduce a photograph to 8 bits at each scale and bring it back; true when SRCNN beats bicubic at every
    scale.
    """
    sample = to_uint8(read(SAMPLES / "dogs.png").pixels[0])
    rows = []
    print(f"{'scale':<7}{'method':<9}{'PSNR':>9}{'SSIM':>9}{'seconds':>9}")
    for scale in SCALES:
        high = sample[:, : sample.shape[1] // scale * scale, : sample.shape[2] // scale * scale]
        size = size_of(high)
        low = resize_uint8(high, (size[0] // scale, size[1] // scale))[None] / 255
        network, _ = load_srcnn(scale)
        methods: dict[str, Callable[[Tensor], Tensor]] = {
            "bicubic": lambda x, size=size: resize(x, size).clamp(0, 1),
            "SRCNN": lambda x, network=network, scale=scale: srcnn_upscale(network, x, scale),
        }
        results = {}
        for name, method in methods.items():
            start = time.perf_counter()
            results[name] = method(low)
            seconds = time.perf_counter() - start
            row = compare(results[name], high[None] / 255, "luma", border=scale)[0]
            rows.append(row["psnr"])
            print(f"x{scale:<6}{name:<9}{row['psnr']:>6.2f} dB{row['ssim']:>9.4f}{seconds:>9.2f}")
        if scale == SHOWN:
            _write(folder, {"input": low, **results, "original": high[None] / 255})
    print(
        f"\nwrote {folder / 'input.png'}, bicubic.png, srcnn.png, original.png and comparison.png (x{SHOWN})"
    )
    return all(srcnn > bicubic for bicubic, srcnn in zip(rows[::2], rows[1::2], strict=True))


def face(folder: Path) -> bool:
    """Reduce a face and restore it with Diff-SR, at the level its field chooses and at fixed ones; true when
    it beats bicubic.
    """
    prior = load_prior("face64")
    side = prior.size // FACE_SCALE
    original = resize(read(SAMPLES / "astronaut.png").pixels, (prior.size, prior.size)).clamp(0, 1)
    low = resize_uint8(to_uint8(original[0]), (side, side))[None] / 255
    methods: dict[str, Callable[[Tensor], Tensor]] = {
        "bicubic": lambda x: resize(x, size_of(original)).clamp(0, 1),
        "Diff-SR": lambda x: diffsr_upscale(
            prior, x, FACE_SCALE, report=lambda i, text: print(f"Diff-SR: {text}")
        ),
    }
    results, figures = {}, {}
    print(f"\na face, x{FACE_SCALE}")
    for name, method in methods.items():
        start = time.perf_counter()
        results[name] = method(low)
        seconds = time.perf_counter() - start
        figures[name] = compare(results[name], original, "luma")[0]
        print(f"{'':<7}{name:<9}{figures[name]['psnr']:>6.2f} dB{figures[name]['ssim']:>9.4f}{seconds:>9.2f}")
    small = resize(low, size_of(original), method="nearest")
    shown = {"input": small, **results, "original": original}
    shown |= {
        f"{level} %": diffsr_upscale(prior, low, FACE_SCALE, replace(PUBLISHED, level=level))
        for level in LEVELS
    }
    enlarged = [resize(x, (192, 192), method="nearest")[0] for x in shown.values()]
    rows = [
        _label(side_by_side(enlarged[i : i + 4], height=192), list(shown)[i : i + 4], 196) for i in (0, 4, 8)
    ]
    widest = max(row.shape[-1] for row in rows)
    sheet = torch.cat([torch.nn.functional.pad(row, (0, widest - row.shape[-1]), value=1) for row in rows], 1)
    write(Picture(sheet[None]), folder / "face.png", overwrite=True)
    print(f"\nwrote {folder / 'face.png'}: the face, and the noise levels of a plain run side by side")
    return figures["Diff-SR"]["psnr"] > figures["bicubic"]["psnr"]


def _write(folder: Path, pictures: dict[str, Tensor]) -> None:
    for name, x in pictures.items():
        write(Picture(x), folder / f"{name.lower()}.png", overwrite=True)
    size = size_of(pictures["original"])
    crops = [resize(x, size, method="nearest")[0][:, CROP[0], CROP[1]] for x in pictures.values()]
    sheet = side_by_side(crops, height=CROP[0].stop - CROP[0].start)
    write(
        Picture(_label(sheet, list(pictures), crops[0].shape[-1] + 4)[None]),
        folder / "comparison.png",
        overwrite=True,
    )


def _label(sheet: Tensor, names: list[str], step: int) -> Tensor:
    strip = Image.new("RGB", (sheet.shape[-1], 22), "white")
    draw = ImageDraw.Draw(strip)
    for i, name in enumerate(names):
        draw.text((i * step + 4, 3), name, fill="black", font=ImageFont.load_default(14))
    text = (
        torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8).view(22, -1, 3).permute(2, 0, 1) / 255
    )
    return torch.cat([text, sheet], 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
