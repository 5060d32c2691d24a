"""Guidance nodes: what pulls the samples of a sampler, in a chain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.imaging.canvas import to_prior_channels
from ..methods.imaging.operators import ReduceTo
from ..methods.priors.classifier import NoiseClassifier
from ..methods.priors.load import ChainSettings, load_classifier
from ..samplers.guidance.consistency import Consistency
from ..samplers.guidance.measurement import MeasurementGuidance
from ..samplers.hooks import ClipX0, DynamicThreshold
from ..samplers.schedule import Level
from . import host
from .host import managed as managed_models
from .host import model as host_model
from .host.images import join, own, split

Guidance = io.Custom("PRIORSR_GUIDANCE")  # a tuple of the core's hooks, which act in their order
Classifier = io.Custom("PRIORSR_CLASSIFIER")
CATEGORY = f"{host.CATEGORY}/sampling"


def more_guidance() -> io.Input:
    return Guidance.Input("guidance", optional=True, tooltip="More guidance, which acts before this one.")


class PictureGuidance(MeasurementGuidance):
    """Guidance by pictures B C h w in 0..1; a luma prior is compared with their luma."""

    def __init__(self, pictures: Tensor, scale: float, squared: bool):
        self.pictures = pictures
        super().__init__(ReduceTo(tuple(pictures.shape[-2:])), pictures * 2 - 1, scale, squared)

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        self.y = to_prior_channels(x.shape[1], self.pictures, tuple(self.pictures.shape[-2:]))[0] * 2 - 1
        super().begin(x, levels)


class GuideByMeasurement(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideMeasurement",
            display_name="Guide by Measurement",
            category=CATEGORY,
            description=(
                "Pull samples of a pixel prior towards agreement with a low-resolution image, in "
                "every step (Chung et al. 2023)."
            ),
            search_aliases=["dps", "data consistency", "posterior sampling", "guidance", "super resolution"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution image, or one for each sample of the batch; alpha is ignored."
                    ),
                ),
                io.Float.Input(
                    "scale",
                    default=0.3,
                    min=0.0,
                    max=1000.0,
                    step=0.05,
                    tooltip="Step along the gradient; 0.3 for 1000 steps, fewer need more.",
                ),
                io.Boolean.Input(
                    "squared",
                    default=False,
                    tooltip="The squared residual of the paper in place of the norm of its code.",
                ),
                more_guidance(),
            ],
            outputs=[Guidance.Output("guidance", display_name="guidance")],
        )

    @classmethod
    def execute(cls, image, scale, squared, guidance=()):
        with torch.inference_mode(False):
            hook = PictureGuidance(split(own(image))[0], scale, squared)
        return io.NodeOutput((*guidance, hook))


class GuideByConsistency(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideConsistency",
            display_name="Guide by Consistency",
            category=CATEGORY,
            description=(
                "Make every predicted picture agree with a low-resolution image by projection, "
                "without gradients (Wang et al. 2023)."
            ),
            search_aliases=["ddnm", "null space", "data consistency", "guidance", "super resolution"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "The prior that will sample; a luma prior is compared with the luma of the image."
                    ),
                ),
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution image, or one for each sample of the batch; alpha is ignored."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="1 agrees exactly; less for noisy or compressed ones.",
                ),
                more_guidance(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip=(
                        "Of a latent MODEL: latents are held to those of the image, nearly as pictures "
                        "would be; pixel priors need none."
                    ),
                ),
            ],
            outputs=[Guidance.Output("guidance", display_name="guidance")],
        )

    @classmethod
    def execute(cls, model, image, strength, guidance=(), vae=None):
        with torch.inference_mode(False), torch.no_grad():
            pixels = split(own(image))[0]
            if vae is None:
                prior = host_model.prior_of(model, ", or connect the VAE of a latent MODEL")
                y = to_prior_channels(prior.channels, pixels, tuple(pixels.shape[-2:]))[0] * 2 - 1
            else:
                y = host_model.latents_of(model, vae, join(pixels)).float().clone()
        return io.NodeOutput((*guidance, Consistency(ReduceTo(tuple(y.shape[-2:])), y, strength)))


class LoadNoiseClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadNoiseClassifier",
            display_name="Load Noise Classifier",
            category=CATEGORY,
            description="A classifier of noisy pictures (ADM), for Guide by Classifier.",
            search_aliases=["classifier guidance", "guided diffusion", "adm", "load model"],
            inputs=[
                host.file_input("classifier", ("adm-classifier",), "The weight file, from models/priorsr."),
                *host.settings_inputs(ChainSettings),
            ],
            outputs=[Classifier.Output("classifier", display_name="classifier")],
        )

    @classmethod
    def execute(cls, classifier, schedule, train_steps):
        with host.loading():
            network = load_classifier(str(host.weight_path(classifier)))
            judge = NoiseClassifier(network, ChainSettings(schedule, train_steps).chain(network.config))
        return io.NodeOutput(managed_models.as_classifier(judge))


class GuideByClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideClassifier",
            display_name="Guide by Classifier",
            category=CATEGORY,
            description=(
                "Push samples of a pixel prior towards a class, by the gradient of a noise-aware "
                "classifier (Dhariwal and Nichol 2021)."
            ),
            search_aliases=["classifier guidance", "class label", "guidance"],
            inputs=[
                Classifier.Input(
                    "classifier",
                    tooltip=(
                        "From Load Noise Classifier. Pictures larger than its own size are judged in tiles."
                    ),
                ),
                io.Int.Input(
                    "label",
                    default=-1,
                    min=-1,
                    max=100_000,
                    tooltip="The class, such as 0 to 999 of ImageNet. It has to be given.",
                ),
                io.Float.Input(
                    "scale",
                    default=4.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    tooltip="How hard the classifier pushes; 0 not at all.",
                ),
                io.Combo.Input(
                    "form",
                    options=["score", "mean"],
                    default="score",
                    tooltip=(
                        "score changes the predicted noise, for any transition; mean the mean of a "
                        "random step, for ddpm and the like."
                    ),
                ),
                more_guidance(),
            ],
            outputs=[Guidance.Output("guidance", display_name="guidance")],
        )

    @classmethod
    def execute(cls, classifier, label, scale, form, guidance=()):
        with torch.inference_mode(False):
            hook = managed_models.ManagedLabelGuidance(classifier, label, scale, form)
        return io.NodeOutput((*guidance, hook))


class GuideByClipping(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        number = io.Float.Input
        values = [
            number(
                "low",
                default=-1.0,
                min=-1000.0,
                max=1000.0,
                step=0.1,
                tooltip="Smallest value of the predicted picture or latent.",
            ),
            number(
                "high",
                default=1.0,
                min=-1000.0,
                max=1000.0,
                step=0.1,
                tooltip="Largest value; pictures lie in -1..1.",
            ),
        ]
        percentile = number(
            "percentile",
            default=0.995,
            min=0.5,
            max=1.0,
            step=0.001,
            tooltip="Share of the values that are not cut; then all shrink to -1..1.",
        )
        return host.schema(
            node_id="PriorSRGuideClip",
            display_name="Guide by Clipping",
            category=CATEGORY,
            description=(
                "Keep what is predicted in every step within a range: a fixed one, or one by each "
                "picture's own values."
            ),
            search_aliases=["clip", "clamp", "dynamic thresholding", "guidance"],
            inputs=[
                io.DynamicCombo.Input(
                    "limit",
                    options=[
                        io.DynamicCombo.Option("range", values),
                        io.DynamicCombo.Option("dynamic", [percentile]),
                    ],
                    tooltip=(
                        "range: cut at two values. dynamic: cut at a percentile of each picture and "
                        "scale to it (Saharia et al. 2022)."
                    ),
                ),
                more_guidance(),
            ],
            outputs=[Guidance.Output("guidance", display_name="guidance")],
        )

    @classmethod
    def execute(cls, limit=None, guidance=()):
        return io.NodeOutput((*guidance, _clip(limit)))


def _clip(choice: dict | None):
    kind, choice = host.chosen(choice, "limit", ("range", "dynamic"))
    if kind == "dynamic":
        return DynamicThreshold(choice["percentile"])
    if choice["low"] >= choice["high"]:
        raise ValueError(
            f"a range from {choice['low']:g} to {choice['high']:g} holds nothing: give a low value below "
            "the high one"
        )
    return ClipX0(choice["low"], choice["high"])
