"""Thumbnails of the example workflows: COMFYUI_PATH=... python tests/host/thumbnails.py [NAME ...].

Those that need no file are run, and show a picture before and after; the others show their graph as the front
end draws it. The only pictures in them come along with the package or are computed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from browser import SIZE, opened, show
from graphs import to_graph
from host_server import Host, serve

from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
HALVES, BESIDE, ABOVE = "left and right half", "side by side", "upper and lower half"
RUN = {  # the outputs that are seen before and after, and how, so that no two look alike
    "srcnn_upscale": (("1", 0), ("2", 0), HALVES),
    "restore_faces_in_photo": (("1", 0), ("2", 0), HALVES),
    "diffsr_face": (("2", 0), ("3", 0), HALVES),
    "diffsr_parts": (("2", 0), ("13", 0), BESIDE),
    "guidance_native_ksampler": (("2", 0), ("9", 0), ABOVE),
    "dpi_face": (("2", 0), ("3", 0), HALVES),
    "dpi_parts": (("2", 0), ("13", 0), BESIDE),
    "srdg_face": (("2", 0), ("4", 0), HALVES),
    "attribute_guidance_any_prior": (("2", 0), ("14", 0), BESIDE),
    "tiled_sampling": (("2", 0), ("14", 0), HALVES),
    "faces_through_any_nodes": (("4", 0), ("6", 0), BESIDE),
    "restore_a_region": (("1", 0), ("4", 0), HALVES),
    "face_masks": (("2", 1), ("10", 0), ABOVE),
    "judge_two_results": (("4", 0), ("3", 0), ABOVE),
}
WIDTH, MARGIN, LINE = 800, 20, 4

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


def ran(host: Host, workflow: dict, name: str) -> torch.Tensor:
    """A template's picture before and after, 1 3 H W in 0..1."""
    first, last, how = RUN[name]
    graph = to_graph(workflow, host.get("/object_info"))
    for key, origin in (("before", first), ("after", last)):
        graph[key] = {"class_type": "PreviewImage", "inputs": {"images": list(origin)}}
    outputs = host.run(graph, timeout=1800)
    before, after = (read(host.image(outputs[key]["images"][0])).pixels[:, :3] for key in ("before", "after"))
    height = round(after.shape[-2] * WIDTH / after.shape[-1])
    before, after = (resize(x, (height, WIDTH), method="nearest").clamp(0, 1) for x in (before, after))
    if how == BESIDE:
        return torch.cat([before, torch.ones(1, 3, height, 3 * LINE), after], 3)
    if how == HALVES:
        line, half = torch.ones(1, 3, height, LINE), (WIDTH - LINE) // 2
        return torch.cat([before[..., :half], line, after[..., half + LINE :]], 3)
    line, half = torch.ones(1, 3, LINE, WIDTH), (height - LINE) // 2
    return torch.cat([before[..., :half, :], line, after[..., half + LINE :, :]], 2)


def main(folder: str, names: list[str]) -> None:
    host = serve(os.environ["COMFYUI_PATH"], Path(folder) / "base")
    try:
        with opened(host) as page:
            page.add_style_tag(content=HIDE)
            for path in sorted(FOLDER.glob("*.json")):
                if names and path.stem not in names:
                    continue
                workflow = json.loads(path.read_text(encoding="utf-8"))
                if path.stem in RUN:
                    picture = ran(host, workflow, path.stem)
                else:
                    show(page, workflow)
                    picture = drawn(page, Path(folder))
                size = round(picture.shape[-2] * WIDTH / picture.shape[-1]), WIDTH
                made = Picture(resize(picture, size).clamp(0, 1))
                write(made, path.with_suffix(".jpg"), overwrite=True, quality=85)
    finally:
        host.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(main(place, sys.argv[1:]))
