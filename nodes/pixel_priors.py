"""Pixel priors as MODELs of the host, and what they are told."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.priors.load import PRIORS, PriorSettings, load_prior
from . import host
from .guidance import CATEGORY
from .host import model as host_model
from .host.images import split


def clip_input() -> io.Input:
    return io.Boolean.Input(
        "clip",
        default=True,
        tooltip="Keep predicted pictures within their range, as the published samplers do.",
    )


def loaded_outputs() -> list[io.Output]:
    """What nodes that load a pixel prior give."""
    return [
        io.Model.Output("model", display_name="MODEL"),
        io.Conditioning.Output(
            "conditioning",
            display_name="CONDITIONING",
            tooltip="Empty: what samplers ask for beside the model.",
        ),
    ]


class LoadPixelPrior(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadPixelPrior",
            display_name="Load Pixel Prior",
            category=CATEGORY,
            description=(
                "A pixel diffusion prior (ADM, EDM, NCSN++) as a MODEL for any sampler. Encode and decode "
                "with Image to Pixel Latent and Pixel Latent to Image."
            ),
            search_aliases=["guided diffusion", "adm", "edm", "pixel diffusion", "load model"],
            inputs=[
                host.file_input("prior", (*PRIORS, "ncsnpp"), "The weight file, from models/priorsr."),
                clip_input(),
                *host.settings_inputs(PriorSettings),
            ],
            outputs=loaded_outputs(),
        )

    @classmethod
    def execute(cls, prior, clip, schedule, train_steps, target):
        with host.loading():
            loaded = load_prior(
                str(host.weight_path(prior)), PriorSettings(schedule, train_steps, target), conditional=True
            )
        return io.NodeOutput(host_model.as_model(loaded, clip), conditioning())


def conditioning(**given) -> list:
    return [[torch.zeros(1, 1, 1), given]]  # the host wants text tokens, which pixel priors do not look at


class ConditionPixelPrior(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRConditionPixelPrior",
            display_name="Condition Pixel Prior",
            category=CATEGORY,
            description=(
                "What a pixel prior is told beside the noise: the class, and the picture to "
                "enlarge where it is an upsampler."
            ),
            search_aliases=["class label", "class conditional", "upsampler", "conditioning"],
            inputs=[
                io.Int.Input(
                    "label",
                    default=-1,
                    min=-1,
                    max=100_000,
                    tooltip="The class, such as 0 to 999 of ImageNet; -1 for priors without.",
                ),
                io.Image.Input(
                    "low_resolution",
                    optional=True,
                    tooltip="For upsamplers: one image, or one for each sample; alpha is ignored.",
                ),
            ],
            outputs=[io.Conditioning.Output("conditioning", display_name="CONDITIONING")],
        )

    @classmethod
    def execute(cls, label, low_resolution=None):
        seen = (
            {} if low_resolution is None else {"low_res": split(low_resolution, "low_resolution")[0] * 2 - 1}
        )
        return io.NodeOutput(conditioning(label=label, **seen))
