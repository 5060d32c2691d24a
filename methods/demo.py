"""`make demo`: restore a sample photograph with what is shipped, write the pictures, print a table against bicubic."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .evaluate.report import compare, side_by_side
from .images import Picture, read, to_uint8, write
from .resize import resize, resize_uint8
from .visionrefine.srcnn import SCALES, load_srcnn, srcnn_upscale

SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "sample" / "dogs.png"
SHOWN = 3  # the scale whose pictures are kept
CROP = (slice(40, 232), slice(24, 216))


def main(target: str = "demo") -> int:
    """Reduce the sample to 8 bits at each scale and bring it back; returns 0 when SRCNN beats bicubic at every scale."""
    folder, sample = Path(target), to_uint8(read(SAMPLE).pixels[0])
    rows = []
    print(f"{'scale':<7}{'method':<9}{'PSNR':>9}{'SSIM':>9}{'seconds':>9}")
    for scale in SCALES:
        high = sample[:, : sample.shape[1] // scale * scale, : sample.shape[2] // scale * scale]
        size = tuple(high.shape[1:])
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
    print(f"\nwrote {folder / 'input.png'}, bicubic.png, srcnn.png, original.png and comparison.png (x{SHOWN})")
    return 0 if all(srcnn > bicubic for bicubic, srcnn in zip(rows[::2], rows[1::2], strict=True)) else 1


def _write(folder: Path, pictures: dict[str, Tensor]) -> None:
    for name, x in pictures.items():
        write(Picture(x), folder / f"{name.lower()}.png", overwrite=True)
    size = pictures["original"].shape[-2:]
    crops = [resize(x, tuple(size), method="nearest")[0][:, CROP[0], CROP[1]] for x in pictures.values()]
    sheet = side_by_side(crops, height=CROP[0].stop - CROP[0].start)
    write(Picture(_label(sheet, list(pictures), crops[0].shape[-1] + 4)[None]), folder / "comparison.png", overwrite=True)


def _label(sheet: Tensor, names: list[str], step: int) -> Tensor:
    strip = Image.new("RGB", (sheet.shape[-1], 22), "white")
    draw = ImageDraw.Draw(strip)
    for i, name in enumerate(names):
        draw.text((i * step + 4, 3), name, fill="black", font=ImageFont.load_default(14))
    text = torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8).view(22, -1, 3).permute(2, 0, 1) / 255
    return torch.cat([text, sheet], 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
