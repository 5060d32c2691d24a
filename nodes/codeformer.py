"""Restore Faces (CodeFormer), Load CodeFormer, Restore Aligned Face."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.faces.codeformer import CodeFormerRestorer, CodeFormerSettings
from ..methods.faces.load import CODEFORMER, load_codeformer
from ..methods.faces.paint import RestoreSettings
from ..methods.imaging.alpha import fill_hidden
from ..methods.imaging.resize import resize
from . import host
from .face_inputs import (
    CATEGORY,
    clean_input,
    detect_inputs,
    detector_input,
    given_inputs,
    later_inputs,
    more_inputs,
    paste_inputs,
    restored_outputs,
    scale_input,
)
from .face_runs import FaceInputs, file_of, restore_and_paste
from .host.images import join, own, split
from .region import region_inputs

Network = io.Custom("PRIORSR_CODEFORMER")
MAPS = 8  # of the largest size that a call holds at once, its convolutions' workspace included


def _file_input() -> io.Input:
    text = "codeformer.pth of its authors, or another file of models/priorsr."
    return host.file_input("codeformer", ("codeformer",), text, [CODEFORMER])


def _half_input() -> io.Input:
    return io.Boolean.Input(
        "half",
        default=False,
        tooltip="Half precision: faster on GPUs, and half the memory.",
        extra_dict={"advanced": True},
    )


def _load(name: str, half: bool) -> CodeFormerRestorer:
    with host.loading():
        return load_codeformer(file_of(name), precision=torch.float16 if half else torch.float32)


def room_of(restorer: CodeFormerRestorer, batch: int) -> int:
    """Bytes of a call."""
    weight = restorer.network.feat_emb.weight
    return MAPS * batch * restorer.network.config.width * restorer.size**2 * weight.element_size()


class CodeFormerRestore(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRCodeFormer",
            display_name="Restore Faces (CodeFormer)",
            category=CATEGORY,
            description=(
                "Restore every face of a picture with CodeFormer and put it back (Zhou et al. "
                "2022). Needs codeformer.pth."
            ),
            search_aliases=["codeformer restore", "face restoration", "gfpgan", "visionrefine"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Images of any size, in colour or grey, with any number of faces; alpha is kept.",
                ),
                _file_input(),
                *host.settings_inputs(CodeFormerSettings, ("w",), advanced=False),
                *scale_input(),
                detector_input(),
                *host.advanced([*paste_inputs(), *detect_inputs()]),
                *host.settings_inputs(CodeFormerSettings, ("match_statistics",)),
                *more_inputs(),
                _half_input(),
                clean_input(False),
                *later_inputs("enhance_outside"),
                *given_inputs(),
                *region_inputs(),
            ],
            outputs=restored_outputs(),
        )

    @classmethod
    def execute(cls, image, codeformer, w, match_statistics, half, **asked):
        wanted, chosen = FaceInputs(**asked), CodeFormerSettings(w, match_statistics)
        with torch.inference_mode(False), torch.no_grad():
            restorer = CodeFormerRestorer(_load(codeformer, half).network, chosen)
            return restore_and_paste(
                image,
                restorer,
                [restorer.network],
                room_of(restorer, wanted.batch),
                restorer.size,
                "ffhq",
                wanted,
            )


class LoadCodeFormer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadCodeFormer",
            display_name="Load CodeFormer",
            category=CATEGORY,
            description=(
                "CodeFormer, for Restore Aligned Face. Its weights are released by its authors for "
                "non-commercial use."
            ),
            search_aliases=["codeformer", "face restoration", "load model"],
            inputs=[_file_input(), _half_input()],
            outputs=[Network.Output("network", display_name="codeformer")],
        )

    @classmethod
    def execute(cls, codeformer, half):
        with torch.inference_mode(False):
            return io.NodeOutput(_load(codeformer, half).network)


class RestoreAlignedFace(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRRestoreAlignedFace",
            display_name="Restore Aligned Face",
            category=CATEGORY,
            description=(
                "Restore faces that are already aligned as in FFHQ with CodeFormer; for whole "
                "pictures use Restore Faces (CodeFormer)."
            ),
            search_aliases=["codeformer", "face restoration", "aligned face", "ffhq"],
            inputs=[
                Network.Input("codeformer", tooltip="From Load CodeFormer."),
                io.Image.Input(
                    "image",
                    tooltip=(
                        "One aligned face an image. It is resized to the network's 512 pixels; alpha is kept."
                    ),
                ),
                *host.settings_inputs(CodeFormerSettings, advanced=False),
                *host.settings_inputs(RestoreSettings, ("batch",)),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, codeformer, image, w, match_statistics, batch):
        restorer = CodeFormerRestorer(codeformer, CodeFormerSettings(w, match_statistics))
        with torch.inference_mode(False), torch.no_grad():
            pixels, alpha = split(own(image))
            size, progress, done = (restorer.size, restorer.size), host.progress(), []
            with host.on_device(codeformer, activations=room_of(restorer, batch)):
                seen = pixels if alpha is None else fill_hidden(pixels, alpha)
                for some in seen.expand(-1, 3, -1, -1).split(batch):
                    done.append(restorer(resize(some, size).clamp(0, 1)))
                    progress(sum(map(len, done)), len(pixels))
            alpha = alpha if alpha is None else resize(alpha, size)
            return io.NodeOutput(host.result(join(done, alpha)))
