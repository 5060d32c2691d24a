"""Thumbnails of the example workflows that show their graphs as the front end draws them:

COMFYUI_PATH=... python tests/host/thumbnails.py.

The only picture in them is the one that the test server loads, which is computed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from browser import SIZE, opened, show
from conftest import serve

from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
GRAPHS = (
    "dps_face",
    "guided_upsampler",
    "tiled_sampling",
    "codeformer_photo",
    "stablesr_parts",
    "stablesr_upscale",
    "stablesr_turbo",
    "stablesr_guidance",
    "srdg_face",
    "attribute_guidance_any_prior",
)
WIDTH, MARGIN = 800, 20

# the front end lays its bars and its map over the canvas; the texts of notes and the loaded picture may lie
# there too, and stay
HIDE = (
    "body * { visibility: hidden !important } #graph-canvas, .dom-widget, .dom-widget * { visibility: "
    "visible !important }"
)
FIT = """margin => {
    const boxes = [...app.graph._nodes.map(n => n.getBounding()), ...app.graph._groups.map(g => g._bounding)]
    const [left, top] = [0, 1].map(axis => Math.min(...boxes.map(b => b[axis])) - margin)
    const [right, bottom] = [0, 1].map(axis => Math.max(...boxes.map(b => b[axis] + b[axis + 2])) + margin)
    return [left, top, right - left, bottom - top]
}"""
PLACE = """([left, top]) => {
    const canvas = app.canvas
    canvas.show_info = false
    canvas.ds.scale = 1
    canvas.ds.offset[0] = -left
    canvas.ds.offset[1] = -top
    canvas.setDirty(true, true)
}"""


def drawn(page, folder: Path) -> torch.Tensor:
    """The whole graph at its own size and nothing else, 1 3 H W in 0..1."""
    left, top, width, height = (round(n) for n in page.evaluate(FIT, MARGIN))
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(500)
    page.evaluate(PLACE, [left, top])
    page.wait_for_timeout(1500)
    path = folder / "graph.png"
    page.screenshot(path=path)
    page.set_viewport_size(SIZE)
    return read(path).pixels[:, :3]


def main(folder: str) -> None:
    host = serve(os.environ["COMFYUI_PATH"], Path(folder) / "base")
    try:
        with opened(host) as page:
            page.add_style_tag(content=HIDE)
            for name in GRAPHS:
                show(page, json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
                picture = drawn(page, Path(folder))
                height = round(picture.shape[-2] * WIDTH / picture.shape[-1])
                write(
                    Picture(resize(picture, (height, WIDTH)).clamp(0, 1)),
                    FOLDER / f"{name}.jpg",
                    overwrite=True,
                    quality=85,
                )
    finally:
        host.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(main(place))
