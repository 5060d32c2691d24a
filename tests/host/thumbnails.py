"""Thumbnails of the example workflows that show their graphs as the front end draws them: COMFYUI_PATH=... python tests/host/thumbnails.py.

The only picture in them is the one that the test server loads, which is computed.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from browser import SIZE, opened, show
from conftest import serve

from priorsr.methods.images import Picture, read, write
from priorsr.methods.resize import resize

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
GRAPHS = ("dps_face", "guided_upsampler", "tiled_sampling")
WIDTH, MARGIN = 800, 20

FIT = """margin => {
    const nodes = app.graph._nodes, title = LiteGraph.NODE_TITLE_HEIGHT
    const left = Math.min(...nodes.map(n => n.pos[0])) - margin, top = Math.min(...nodes.map(n => n.pos[1])) - title - margin
    const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0])) + margin, bottom = Math.max(...nodes.map(n => n.pos[1] + n.size[1])) + margin
    return [left, top, right - left, bottom - top]
}"""
DRAW = """([left, top]) => {
    const canvas = app.canvas
    canvas.ds.scale = 1
    canvas.ds.offset[0] = -left
    canvas.ds.offset[1] = -top
    canvas.draw(true, true)
    return canvas.canvas.toDataURL("image/png")  // without what the page lays over it
}"""


def drawn(page, folder: Path) -> torch.Tensor:
    """The whole graph at its own size, 1 3 H W in 0..1."""
    left, top, width, height = (round(n) for n in page.evaluate(FIT, MARGIN))
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(500)
    data = page.evaluate(DRAW, [left, top])
    path = folder / "graph.png"
    path.write_bytes(base64.b64decode(data.partition(",")[2]))
    page.set_viewport_size(SIZE)
    return read(path).pixels[:, :3]


def main(folder: str) -> None:
    host = serve(os.environ["COMFYUI_PATH"], Path(folder) / "base")
    try:
        with opened(host) as page:
            for name in GRAPHS:
                show(page, json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
                picture = drawn(page, Path(folder))
                height = round(picture.shape[-2] * WIDTH / picture.shape[-1])
                write(Picture(resize(picture, (height, WIDTH)).clamp(0, 1)), FOLDER / f"{name}.jpg", overwrite=True, quality=85)
    finally:
        host.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(main(place))
