"""Crop Faces and Paste Faces, between which any node can restore."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from comfy_api.latest import io

from ..methods.faces.crops import cut_faces, returned
from ..methods.faces.paint import RestoreSettings, usable
from . import host
from .face_inputs import (
    CATEGORY,
    FacesData,
    FoundFaces,
    background_inputs,
    more_inputs,
    paste_inputs,
    restored_outputs,
    scale_input,
)
from .face_runs import FaceInputs, restore_and_paste
from .host.images import join, own, split
from .region import region_inputs

CropsData = io.Custom("PRIORSR_CROPS")


@dataclass(frozen=True)
class CroppedFaces:
    """Where aligned faces were cut out."""

    faces: FoundFaces
    size: int
    frame: str
    robust: bool


class CropFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRCropFaces",
            display_name="Crop Faces",
            category=CATEGORY,
            description=(
                "Cut faces out upright, at one size, for any node that restores images; Paste "
                "Faces puts them back."
            ),
            search_aliases=["align faces", "face crop", "face restoration", "ffhq", "stablesr"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The images in which the faces were found; alpha is ignored."
                ),
                FacesData.Input("faces", tooltip="From Detect Faces, which also chooses which faces."),
                *host.settings_inputs(RestoreSettings, ("size", "frame"), advanced=False),
                *host.settings_inputs(RestoreSettings, ("robust",)),
            ],
            outputs=[
                io.Image.Output(
                    "aligned",
                    display_name="aligned",
                    tooltip="One face an image; a single grey one where there is none.",
                ),
                CropsData.Output(
                    "crops", display_name="crops", tooltip="Where the faces lie, for Paste Faces."
                ),
                io.Int.Output("count", display_name="count", tooltip="How many faces were cut out."),
            ],
        )

    @classmethod
    def execute(cls, image, faces, size, frame, robust):
        with torch.inference_mode(False), torch.no_grad():
            pixels, alpha = split(own(image))
            x = pixels if alpha is None else torch.cat([pixels, alpha], 1)
            settings = RestoreSettings(size=size, frame=frame, robust=robust)
            aligned = cut_faces(x, faces.of(pixels), settings)
        count = len(aligned)
        if not count:  # nodes that restore need an image
            aligned = torch.full((1, 3, size, size), 0.5)
        crops = CroppedFaces(faces, size, frame, robust)
        text = "" if count else "no face to cut out: the grey picture stands for none"
        return host.told(host.result(join(aligned)), crops, count, text=text)


class PasteFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRPasteFaces",
            display_name="Paste Faces",
            category=CATEGORY,
            description=(
                "Put aligned faces back where Crop Faces cut them out, whatever restored them, "
                "with a soft edge."
            ),
            search_aliases=["paste back", "face restoration", "blend", "stablesr"],
            inputs=[
                io.Image.Input("image", tooltip="The images out of which the faces were cut; alpha is kept."),
                CropsData.Input("crops", tooltip="From Crop Faces."),
                io.Image.Input(
                    "restored", tooltip="The faces of Crop Faces in the same order, restored; of any size."
                ),
                *scale_input(),
                *paste_inputs(),
                *more_inputs(but=("robust", "batch")),
                *background_inputs(),
                *region_inputs(),
            ],
            outputs=restored_outputs(),
        )

    @classmethod
    def execute(cls, image, crops, restored, **asked):
        found = crops.faces
        with torch.inference_mode(False), torch.no_grad():
            faces = [d.faces for d in found.detections]
            answers, _ = split(own(restored), "restored")
            if not any(map(usable, faces)):
                answers = answers[:0]  # that of the grey one
            return restore_and_paste(
                image,
                returned(answers, faces),
                [],
                0,
                crops.size,
                crops.frame,
                FaceInputs(**asked, robust=crops.robust, faces=found),
            )
