"""Detect Faces, Face Mask, Enhance Outside Faces."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.faces.detect import detect
from ..methods.faces.enhance import OUTSIDE, EnhanceSettings, enhance_outside
from ..methods.faces.masks import CLASSES, KINDS, MaskSettings, face_mask
from ..methods.faces.overlay import overlay
from ..methods.imaging.alpha import fill_hidden
from ..methods.imaging.resize import resize
from . import host
from .face_inputs import CATEGORY, FacesData, FoundFaces, detect_inputs, detector_input, parser_input
from .face_runs import PARSER_ROOM, PER_PIXEL, detect_settings, detector_of, parser_of
from .host.images import check_count, join, own, split

OWN = "custom"
PRESETS = {name: OUTSIDE[name] for name in ("released", "paper")}  # unsharp is what custom begins with


class DetectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRDetectFaces",
            display_name="Detect Faces",
            category=CATEGORY,
            description=(
                "Find the faces of any picture with five landmarks each. A detector comes along; "
                "nothing is downloaded."
            ),
            search_aliases=["face detection", "mtcnn", "retinaface", "landmarks", "bounding box"],
            inputs=[
                io.Image.Input("image", tooltip="Images of any size, in colour or grey; alpha is ignored."),
                detector_input(),
                *detect_inputs(),
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
                    "report", display_name="report", tooltip="Every face in words, and what was left out."
                ),
            ],
        )

    @classmethod
    def execute(cls, image, detector, which, confidence, smallest, order, limit, turned):
        settings = detect_settings(
            which, confidence=confidence, smallest=smallest, order=order, limit=limit, turned=turned
        )
        with torch.inference_mode(False), torch.no_grad():
            pixels, _ = split(own(image))
            found = detector_of(detector)
            with host.on_device(found.network, activations=PER_PIXEL * pixels.shape[-1] * pixels.shape[-2]):
                detections = host.for_each(
                    lambda i: detect(pixels[i : i + 1], found, settings)[0], len(pixels)
                )
            with host.cancellable():
                drawn = [overlay(x[None], d.faces) for x, d in zip(pixels, detections, strict=True)]
        report = "\n".join(f"picture {i}: {d.describe()}" for i, d in enumerate(detections))
        data = FoundFaces(tuple(detections), tuple(pixels.shape[-2:]))
        count = sum(len(d.faces) for d in detections)
        return host.told(data, host.result(join(drawn)), count, report, text=report)


class FaceMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRFaceMask",
            display_name="Face Mask",
            category=CATEGORY,
            description=(
                "A mask of the faces that were found: their boxes, the hulls of their landmarks, "
                "or parts such as hair or eyes."
            ),
            search_aliases=["face mask", "face parsing", "bounding box", "segmentation", "hair", "skin"],
            inputs=[
                io.Image.Input("image", tooltip="The images in which the faces were found."),
                FacesData.Input("faces", tooltip="From Detect Faces, which also chooses which faces."),
                io.DynamicCombo.Input(
                    "kind",
                    options=[
                        io.DynamicCombo.Option("box", []),
                        io.DynamicCombo.Option(
                            "hull", host.settings_inputs(MaskSettings, ("spread",), advanced=False)
                        ),
                        io.DynamicCombo.Option("parts", [cls._parts(), parser_input()]),
                    ],
                    tooltip=(
                        "The box of each face, the hull of its landmarks, or some of its parts, which "
                        "ParseNet tells."
                    ),
                ),
                *host.settings_inputs(MaskSettings, ("grow", "feather"), advanced=False),
            ],
            outputs=[
                io.Mask.Output("mask", display_name="mask", tooltip="1 on the faces; one for each image.")
            ],
        )

    @staticmethod
    def _parts() -> io.Input:
        default = MaskSettings().parts
        return io.String.Input(
            "parts", default=default, multiline=True, tooltip=f"With commas between: {', '.join(CLASSES)}."
        )

    @classmethod
    def execute(cls, image, faces, grow, feather, kind=None):
        name, chosen = host.chosen(kind, "kind", KINDS)
        parser = chosen.pop("parser", None)
        settings = MaskSettings(kind=name, grow=grow, feather=feather, **chosen)
        with torch.inference_mode(False), torch.no_grad():
            pixels, _ = split(own(image))
            pixels, some = pixels.expand(-1, 3, -1, -1), faces.of(pixels)
            if settings.kind != "parts":
                masks = host.for_each(lambda i: face_mask(pixels[i : i + 1], some[i], settings), len(pixels))
            else:
                parse = parser_of(parser)
                with host.on_device(parse.network, activations=PARSER_ROOM) as device:
                    on_device = lambda aligned: parse(aligned.to(device)).cpu()  # noqa: E731
                    masks = host.for_each(
                        lambda i: face_mask(pixels[i : i + 1], some[i], settings, on_device), len(pixels)
                    )
            return io.NodeOutput(host.result(torch.cat(masks)[:, 0]))


class EnhanceOutside(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        own = io.DynamicCombo.Option(OWN, host.settings_inputs(EnhanceSettings, advanced=False))
        return host.schema(
            node_id="PriorSREnhanceOutside",
            display_name="Enhance Outside Faces",
            category=CATEGORY,
            description=(
                "Blur and sharpen what lies outside a mask and leave the rest as it is (the last "
                "step of VisionRefine)."
            ),
            search_aliases=["sharpen", "blur", "unsharp mask", "background", "visionrefine"],
            inputs=[
                io.Image.Input("image", tooltip="The images; alpha is kept."),
                io.Mask.Input(
                    "mask",
                    tooltip=(
                        "What is left as it is, 1; one for all images or one for each. It is resized "
                        "to the images."
                    ),
                ),
                io.DynamicCombo.Input(
                    "filters",
                    options=[own, *(io.DynamicCombo.Option(name, []) for name in PRESETS)],
                    tooltip=(
                        "By hand, or VisionRefine's: a blur of 3 pixels, then the kernel of the "
                        "released code or the stronger one of the paper."
                    ),
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, image, mask, filters=None):
        name, chosen = host.chosen(filters, "filters", (OWN, *PRESETS))
        settings = EnhanceSettings(**chosen) if name == OWN else PRESETS[name]
        pixels, alpha = split(image)
        pixels = pixels if alpha is None else fill_hidden(pixels, alpha)
        masks = _masks(mask, pixels)
        done = host.for_each(lambda i: enhance_outside(pixels[i : i + 1], masks[i], settings), len(pixels))
        return io.NodeOutput(host.result(join(done, alpha)))


def _masks(mask: Tensor, pixels: Tensor) -> list[Tensor]:
    """A mask 1 1 H W for each picture of B C H W. Raises ValueError."""
    planes = (mask if mask.ndim == 3 else mask[None])[:, None].float()
    check_count(len(planes), len(pixels), "masks", "images")
    if planes.shape[-2:] != pixels.shape[-2:]:
        planes = resize(planes, tuple(pixels.shape[-2:]), method="bilinear").clamp(0, 1)
    return [planes[i % len(planes)][None] for i in range(len(pixels))]
