"""Faces from Regions and Faces to Regions: between our faces and what other nodes find, draw or take."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.faces.detect import Detection, Faces, no_faces
from ..methods.faces.masks import box_mask
from ..methods.faces.overlay import overlay
from ..methods.faces.regions import faces_in, faces_of_meshes, parts
from ..methods.imaging.resize import resize
from . import host
from .face_inputs import CATEGORY, FacesData, FoundFaces, detector_input
from .face_runs import PER_PIXEL, detector_of
from .host.images import join, own, split

# types of the host and of other packs, by name: older hosts lack some of their classes
Boxes, Landmarks, Segs = io.Custom("BOUNDING_BOX"), io.Custom("FACE_LANDMARKS"), io.Custom("SEGS")
# an item of SEGS, by the names under which other packs look
Segment = namedtuple(
    "Segment", "cropped_image cropped_mask confidence crop_region bbox label control_net_wrapper"
)
SOURCES = ("boxes", "landmarks", "mask", "segs")
LABEL = "face"


class FacesFromRegions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        socket = {"optional": True, "extra_dict": {"forceInput": True}}
        return host.schema(
            node_id="PriorSRFacesFromRegions",
            display_name="Faces from Regions",
            category=CATEGORY,
            description=(
                "Choose faces by what other nodes found or you drew: bounding boxes, face landmarks, a mask, "
                "or SEGS. Connect one of them."
            ),
            search_aliases=["bounding box", "bbox", "segs", "mediapipe", "face landmarks", "mask to faces"],
            inputs=[
                io.Image.Input("image", tooltip="The images in which the regions lie; alpha is ignored."),
                detector_input(),
                FacesData.Input(
                    "faces",
                    optional=True,
                    tooltip="From Detect Faces: only these are chosen from, and the detector is not asked.",
                ),
                Boxes.Input("boxes", tooltip="Bounding boxes of the core, for all images or each.", **socket),
                Landmarks.Input(
                    "landmarks",
                    optional=True,
                    tooltip="From Detect Face Landmarks (MediaPipe); they are taken as they are.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Drawn by hand or found, of any size: every connected part is a region.",
                ),
                Segs.Input("segs", optional=True, tooltip="Segments of one image."),
            ],
            outputs=[
                FacesData.Output("faces", display_name="faces", tooltip="For the other nodes of faces."),
                io.Image.Output(
                    "overlay",
                    display_name="overlay",
                    tooltip="The boxes, numbers, scores and landmarks drawn on the image.",
                ),
                io.Int.Output("count", display_name="count", tooltip="Faces in all images together."),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Every face in words, and regions in which none was seen.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, detector, faces=None, **given):
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                f"Faces from Regions takes one of {', '.join(SOURCES)}, not "
                f"{' and '.join(given) or 'none of them'}: connect one"
            )
        ((name, regions),) = given.items()
        with torch.inference_mode(False), torch.no_grad():
            pixels, _ = split(own(image))
            size, known = tuple(pixels.shape[-2:]), None if faces is None else faces.of(pixels)
            if name == "landmarks":
                detections = [Detection(some) for some in _meshes(regions, len(pixels), size)]
                if known is not None:
                    raise ValueError("landmarks say where the faces are: leave out faces, or the landmarks")
            else:
                boxes = READERS[name](regions, len(pixels), size)
                detections = _found(pixels, boxes, detector, known)
            drawn = torch.cat([overlay(x[None], d.faces) for x, d in zip(pixels, detections, strict=True)])
        report = "\n".join(f"picture {i}: {d.describe()}" for i, d in enumerate(detections))
        count = sum(len(d.faces) for d in detections)
        return io.NodeOutput(FoundFaces(tuple(detections), size), host.result(join(drawn)), count, report)


def _found(
    pixels: Tensor, boxes: Sequence[Tensor], detector: str, known: Sequence[Faces] | None
) -> list[Detection]:
    if known is not None:
        return [faces_in(x[None], some, known=own) for x, some, own in zip(pixels, boxes, known, strict=True)]
    finder = detector_of(detector)
    with host.on_device(finder.network, activations=PER_PIXEL * pixels.shape[-1] * pixels.shape[-2]):
        return host.for_each(lambda i: faces_in(pixels[i : i + 1], boxes[i], finder), len(pixels))


def _boxes(given: Any, count: int, size: tuple[int, int]) -> list[Tensor]:
    """The core's BOUNDING_BOX: one, a list for all images, or a list for each. Raises ValueError."""
    some = [given] if isinstance(given, Mapping) else given
    nested = bool(some) and all(isinstance(one, (list, tuple)) for one in some)
    try:
        read = [
            torch.tensor([_edges(box) for box in one]).view(-1, 4) for one in (some if nested else [some])
        ]
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError("boxes must hold x, y, width and height, each a number in pixels") from error
    return _for_each(read, count, "boxes")


def _edges(box: Mapping) -> list[float]:
    x, y, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
    return [x, y, x + width - 1, y + height - 1]


def _masks(mask: Tensor, count: int, size: tuple[int, int]) -> list[Tensor]:
    planes = (mask if mask.ndim == 3 else mask[None])[:, None].float().cpu()
    if planes.shape[-2:] != size:
        planes = resize(planes, size, method="bilinear")
    return _for_each([parts(one[None]) for one in planes], count, "masks")


def _segments(segs: Any, count: int, size: tuple[int, int]) -> list[Tensor]:
    try:
        own, items = segs
        edges = torch.tensor([[float(v) for v in one.bbox] for one in items]).view(-1, 4)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError("SEGS must hold a bbox of four numbers for each item, in pixels") from error
    if tuple(own) != size:
        raise ValueError(
            f"the SEGS are those of an image of {own[1]} x {own[0]}, not of {size[1]} x {size[0]}: give the "
            "image in which they were found"
        )
    return _for_each([edges - torch.tensor([0.0, 0.0, 1.0, 1.0])], count, "SEGS")


def _meshes(given: Mapping, count: int, size: tuple[int, int]) -> list[Faces]:
    if not isinstance(given, Mapping) or not {"image_size", "frames"} <= given.keys():
        raise ValueError("landmarks must be those of Detect Face Landmarks: connect that node")
    if tuple(given["image_size"]) != size:
        height, width = given["image_size"]
        raise ValueError(
            f"the landmarks are those of images of {width} x {height}, not of {size[1]} x {size[0]}: give "
            "the images in which they were found"
        )

    def read(name: str, frame: Sequence[Mapping], *shape: int) -> Tensor:
        return torch.stack([torch.as_tensor(f[name], dtype=torch.float32) for f in frame]).view(-1, *shape)

    found = []
    for frame in given["frames"]:
        if not frame:
            found.append(no_faces())
            continue
        points = read("landmarks_xy", frame, len(frame[0]["landmarks_xy"]), 2)
        found.append(faces_of_meshes(read("bbox_xyxy", frame, 4), read("score", frame), points))
    return _for_each(found, count, "sets of landmarks")


def _for_each(some: list, count: int, name: str) -> list:
    if len(some) not in (1, count):
        raise ValueError(f"{len(some)} {name} for {count} images: give one for all, or one for each")
    return some if len(some) == count else some * count


READERS: Mapping[str, Callable] = {"boxes": _boxes, "mask": _masks, "segs": _segments}


class FacesToRegions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRFacesToRegions",
            display_name="Faces to Regions",
            category=CATEGORY,
            description=(
                "Faces as bounding boxes of the core, as one mask each, and as SEGS, for nodes that crop, "
                "draw or detail regions."
            ),
            search_aliases=["bounding box", "bbox", "segs", "detailer", "faces to mask"],
            inputs=[
                FacesData.Input("faces", tooltip="From Detect Faces or Faces from Regions."),
                io.Float.Input(
                    "margin",
                    default=2.0,
                    min=1.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How many times larger than a face's box the crop of its segment is.",
                ),
            ],
            outputs=[
                Boxes.Output("boxes", display_name="boxes", tooltip="A list of boxes for each image."),
                io.Mask.Output(
                    "masks",
                    display_name="masks",
                    tooltip="The box of each face as a mask, image after image; an empty one without faces.",
                ),
                Segs.Output(
                    "segs", display_name="segs", is_output_list=True, tooltip="The segments of each image."
                ),
            ],
        )

    @classmethod
    def execute(cls, faces, margin):
        size, sets = faces.size, [d.faces for d in faces.detections]
        boxes = [[_box(*one, size) for one in zip(f.boxes, f.scores, strict=True)] for f in sets]
        masks = [box_mask(box[None], size)[:, 0] for f in sets for box in f.boxes]
        segs = [(size, [_segment(box, size, margin) for box in some]) for some in boxes]
        whole = torch.cat(masks) if masks else torch.zeros(1, *size)
        return io.NodeOutput(boxes, host.result(whole), segs)


def _box(edges: Tensor, score: Tensor, size: tuple[int, int]) -> dict:
    """A face's box as the core has it, whole pixels within the picture of `size` (H, W)."""
    height, width = size
    left, top = (max(0, math.floor(v)) for v in edges[:2].tolist())
    right, bottom = (
        min(n, math.ceil(v) + 1) for v, n in zip(edges[2:].tolist(), (width, height), strict=True)
    )
    sides = {"width": max(1, right - left), "height": max(1, bottom - top)}
    return {"x": left, "y": top, **sides, "label": LABEL, "score": float(score)}


def _segment(box: Mapping, size: tuple[int, int], margin: float) -> Segment:
    """A face as an item of SEGS: edges are left, top, right, bottom, the last two beyond it."""
    height, width = size
    edges = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
    more = [(margin - 1) / 2 * box[name] for name in ("width", "height")]
    crop = (
        max(0, math.floor(edges[0] - more[0])),
        max(0, math.floor(edges[1] - more[1])),
        min(width, math.ceil(edges[2] + more[0])),
        min(height, math.ceil(edges[3] + more[1])),
    )
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    mask[edges[1] - crop[1] : edges[3] - crop[1], edges[0] - crop[0] : edges[2] - crop[0]] = 1
    return Segment(None, mask.numpy(), box["score"], crop, edges, LABEL, None)
