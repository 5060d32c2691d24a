"""`make demo`: restore sample photographs with what is shipped, write the pictures, print tables against
bicubic and the damaged picture.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..api.faces import restore_faces
from ..degrade import Recipe, degrade
from ..degrade.steps import Blur, GaussianNoise, Jpeg, Resample
from ..imaging.images import Picture, to_uint8, write
from ..imaging.resize import resize, resize_uint8, size_of
from ..metrics.compare import compare, side_by_side
from ..samples import HUNG, sample
from ..visionrefine.srcnn import SCALES, load_srcnn, srcnn_upscale

SHOWN = 3  # the scale whose pictures are kept
SURE = 0.95  # a dog looks a little like a face
CROP = (slice(40, 232), slice(24, 216))
FACE = (slice(22, 126), slice(14, 118))  # of a portrait that hangs: from hair to chin
GRAINY = Recipe("grainy", (Blur(9, 1.0), Resample(0.5), GaussianNoise(15.0), Jpeg(75)))  # a scanned print


def main(target: str = "demo") -> int:
    """Returns 0 when what is shipped beats bicubic and the damaged photograph."""
    folder = Path(target)
    better = photograph(folder)
    return 0 if old_photograph(folder) and better else 1


def photograph(folder: Path) -> bool:
    """Reduce a photograph to 8 bits at each scale and bring it back; true when SRCNN beats bicubic at every
    scale.
    """
    whole = to_uint8(sample("photograph")[0])
    rows = []
    print(f"{'scale':<7}{'method':<9}{'PSNR':>9}{'SSIM':>9}{'seconds':>9}")
    for scale in SCALES:
        high = whole[:, : whole.shape[1] // scale * scale, : whole.shape[2] // scale * scale]
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


def grainy() -> Tensor:
    """The photograph with two small faces, half as large, blurred, grainy and compressed."""
    return degrade(sample("small faces"), GRAINY, [0])[0]


def old_photograph(folder: Path) -> bool:
    """Clean a damaged photograph with two small faces in it, restore the faces; true when it and its faces
    are closer to the original than before.
    """
    original, old = sample("small faces"), grainy()
    print("\na small, blurred, grainy and compressed photograph with two faces, x2")
    start = time.perf_counter()
    say = lambda text: print(f"Diff-SR: {text}")  # noqa: E731
    restored = restore_faces(old, scale=2, confidence=SURE, aim="detail", report=say)
    seconds = time.perf_counter() - start
    print(f"{sum(r.outcome == 'restored' for r in restored.reports[0])} of {len(HUNG)} faces restored")
    larger = resize(old, size_of(original)).clamp(0, 1)
    shown = {"damaged": larger, "restored": restored.picture, "original": original}
    better = []
    print(f"{'':<7}{'':<9}{'PSNR':>9}{'SSIM':>9}")
    for what, place in {"all": (), **{f"face {i + 1}": hung for i, hung in enumerate(HUNG)}}.items():
        figures = {}
        for name in ("damaged", "restored"):
            figures[name] = compare(_part(shown[name], place), _part(original, place), "rgb")[0]
            print(f"{what:<7}{name:<9}{figures[name]['psnr']:>6.2f} dB{figures[name]['ssim']:>9.4f}")
        better.append(figures["restored"]["psnr"] > figures["damaged"]["psnr"])
    write(Picture(old), folder / "damaged.png", overwrite=True)
    write(Picture(restored.picture), folder / "restored.png", overwrite=True)
    as_it_is = resize(old, size_of(original), method="nearest")
    _write_sheet(folder / "old_photograph.png", {**shown, "damaged": as_it_is})
    print(f"\nin {seconds:.1f} seconds; wrote {folder / 'old_photograph.png'}, damaged.png and restored.png")
    return all(better)


def _part(x: Tensor, place: tuple[int, ...]) -> Tensor:
    """The portrait that hangs at a place, or all of a picture."""
    if not place:
        return x
    top, left, side = place
    return x[..., top : top + side, left : left + side]


def _write_sheet(path: Path, shown: dict[str, Tensor]) -> None:
    """The pictures side by side, and below each the face of its first portrait enlarged, pixel by pixel."""
    width = 336
    faces = [_part(x, HUNG[0])[..., FACE[0], FACE[1]] for x in shown.values()]
    faces = [resize(x, (width, width), method="nearest")[0] for x in faces]
    rows = [
        _label(side_by_side([x[0] for x in shown.values()], height=504), list(shown), width + 4),
        side_by_side(faces, height=width),
    ]
    widest = max(row.shape[-1] for row in rows)
    sheet = torch.cat([torch.nn.functional.pad(row, (0, widest - row.shape[-1]), value=1) for row in rows], 1)
    write(Picture(sheet[None]), path, overwrite=True)


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
