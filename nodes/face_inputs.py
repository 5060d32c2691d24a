"""What the nodes of faces ask for and give alike, and the faces that pass between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfy_api.latest import io
from torch import Tensor

from ..methods.faces.detect import Detection, DetectSettings, Faces
from ..methods.faces.load import (
    FILES,
    PARSENET,
)
from ..methods.faces.paint import RestoreSettings
from . import host

CATEGORY = f"{host.CATEGORY}/faces"
FacesData = io.Custom("PRIORSR_FACES")
FIELDS = ("confidence", "smallest", "order", "limit", "turned")


@dataclass(frozen=True)
class FoundFaces:
    """The faces of every picture of a batch, and the size (H, W) of the pictures."""

    detections: tuple[Detection, ...]
    size: tuple[int, int]

    def of(self, pictures: Tensor) -> list[Faces]:
        """Those of pictures B C H W. Raises ValueError when they are others."""
        if len(pictures) != len(self.detections) or tuple(pictures.shape[-2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"the faces are those of {len(self.detections)} images of {width} x {height}, not of "
                f"{len(pictures)} of "
                f"{pictures.shape[-1]} x {pictures.shape[-2]}: give the images in which they were found"
            )
        return [d.faces for d in self.detections]


def detector_input() -> io.Input:
    text = (
        "mtcnn comes along; retinaface and retinaface-mobile are better and need facexlib's files "
        "in models/priorsr."
    )
    return host.file_input("detector", ("retinaface", "mtcnn"), text, list(FILES))


def parser_input() -> io.Input:
    text = "What tells parts of faces: facexlib's parsing_parsenet.pth in models/priorsr."
    return host.file_input("parser", ("parsenet",), text, [PARSENET])


def which_input() -> io.Input:
    return io.String.Input(
        "which",
        default="",
        tooltip="Numbers of the faces to take, such as 0, 2, as the overlay shows them; empty: all.",
    )


def detect_inputs() -> list[io.Input]:
    return [which_input(), *host.settings_inputs(DetectSettings, FIELDS)]


def scale_input() -> list[io.Input]:
    return host.settings_inputs(RestoreSettings, ("scale",), advanced=False)


def paste_inputs() -> list[io.Input]:
    """What is put back of a face."""
    return [*host.settings_inputs(RestoreSettings, ("mask", "strength"), advanced=False), parser_input()]


def more_inputs(but: Sequence[str] = ()) -> list[io.Input]:
    """How faces are aligned and blended."""
    return host.settings_inputs(
        RestoreSettings,
        [name for name in ("rule", "robust", "blend", "keep_grey", "batch") if name not in but],
    )


def clean_input(default: bool) -> io.Input:
    return io.Boolean.Input(
        "clean",
        default=default,
        optional=True,
        tooltip=(
            "Remove noise, compression and blur from the whole image first, as the shipped cleaner can; off: "
            "faces are cut from the image as it is, and the rest stays."
        ),
        extra_dict={"advanced": True},
    )


def later_inputs(*names: str) -> list[io.Input]:
    """Settings that came after work was saved, which has none of them."""
    inputs = host.settings_inputs(RestoreSettings, names)
    for one in inputs:
        one.optional = True
    return inputs


def reference_input() -> io.Input:
    return io.Image.Input(
        "reference",
        optional=True,
        tooltip="Other photographs of the person: with pick identity, the candidate most like them is kept.",
    )


def background_inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "background",
            optional=True,
            tooltip="The images enlarged by any method: faces are put there; it gives the scale.",
        ),
        io.UpscaleModel.Input(
            "upscale_model",
            optional=True,
            tooltip="What enlarges all but the faces, such as a Real-ESRGAN model; without it bicubically.",
        ),
    ]


def given_inputs() -> list[io.Input]:
    return [
        FacesData.Input(
            "faces",
            optional=True,
            tooltip="From Detect Faces; then the detector and its settings are not used.",
        ),
        *background_inputs(),
    ]


def restored_outputs() -> list[io.Output]:
    return [
        io.Image.Output("image", display_name="image"),
        io.String.Output(
            "report",
            display_name="report",
            tooltip="What became of every face, and how far its identity moved.",
        ),
    ]
