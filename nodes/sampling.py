"""Load Pixel Prior, PriorSR Sampler, Guide by Measurement: parts for the host's own sampling graphs."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.operators import ReduceTo
from ..methods.priors.load import PriorSettings, load_prior
from ..samplers.guidance.measurement import MeasurementGuidance
from ..samplers.karras import DPMpp2M, Euler, Heun
from ..samplers.sde import EulerMaruyama, ReverseDiffusion
from ..samplers.transition import DDIM, DDPM
from . import host, host_model
from .convert import split

Guidance = io.Custom("PRIORSR_GUIDANCE")
CATEGORY = f"{host.CATEGORY}/sampling"


class LoadPixelPrior(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadPixelPrior",
            display_name="Load Pixel Prior",
            category=CATEGORY,
            description="A diffusion prior that works on pixels (ADM or EDM) as a MODEL for any sampler. Decode with the VAE called pixel_space.",
            search_aliases=["guided diffusion", "adm", "edm", "pixel diffusion", "load model"],
            inputs=[
                io.Combo.Input("prior", options=host.weight_choices(), tooltip="The weight file, from models/priorsr."),
                io.Boolean.Input("clip", default=True, tooltip="Keep predicted pictures within their range, as the published samplers do."),
                *host.settings_inputs(PriorSettings),
            ],
            outputs=[
                io.Model.Output("model", display_name="MODEL"),
                io.Conditioning.Output("conditioning", display_name="CONDITIONING", tooltip="Empty: what samplers ask for beside the model."),
            ],
        )

    @classmethod
    def execute(cls, prior, clip, schedule, train_steps, target):
        with torch.inference_mode(False):
            loaded = load_prior(str(host.weight_path(prior)), PriorSettings(schedule, train_steps, target))
        return io.NodeOutput(host_model.as_model(loaded, clip), [[torch.zeros(1, 1, 1), {}]])


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        number = io.Float.Input
        options = {
            "ddpm": [io.Combo.Input("variance", options=["small", "large"], default="small", tooltip="beta~ or beta; small suits few steps.")],
            "ddim": [number("eta", default=0.0, min=0.0, max=1.0, step=0.05, tooltip="0 is deterministic, 1 as random as ddpm.")],
            "euler": [],
            "heun": [number("churn", default=0.0, min=0.0, max=100.0, step=0.5, tooltip="Fresh noise along the way (S_churn).")],
            "dpmpp_2m": [],
            "reverse_diffusion": [
                io.Int.Input("corrections", default=0, min=0, max=10, tooltip="Langevin steps before each step; each is one more network call."),
                number("snr", default=0.16, min=0.01, max=1.0, step=0.01, tooltip="Signal-to-noise ratio of those steps."),
            ],
            "euler_maruyama": [],
        }
        choices = [io.DynamicCombo.Option(name, inputs) for name, inputs in options.items()]
        return host.schema(
            node_id="PriorSRSampler",
            display_name="Sampler (PriorSR)",
            category=CATEGORY,
            description="The sampling loop of the papers as a SAMPLER for any MODEL, with guidance. Noise is drawn for each image by itself.",
            search_aliases=["ddpm", "ddim", "heun", "guidance", "sampler"],
            inputs=[
                io.DynamicCombo.Input("transition", options=choices, tooltip="How one step goes to the next."),
                Guidance.Input("guidance", optional=True, tooltip="What pulls the samples, such as Guide by Measurement. Needs gradients."),
            ],
            outputs=[io.Sampler.Output("sampler", display_name="SAMPLER")],
        )

    @classmethod
    def execute(cls, transition=None, guidance=()):
        return io.NodeOutput(host_model.as_sampler(_transition(transition), guidance))


def _transition(choice: dict | None):
    kind = (choice or {}).get("transition")
    made = {
        "ddpm": lambda: DDPM(choice["variance"]),
        "ddim": lambda: DDIM(choice["eta"]),
        "euler": Euler,
        "heun": lambda: Heun(choice["churn"], clock=float),
        "dpmpp_2m": DPMpp2M,
        "reverse_diffusion": lambda: ReverseDiffusion(choice["corrections"], choice["snr"]),
        "euler_maruyama": EulerMaruyama,
    }
    if kind not in made:
        raise ValueError(f"unknown transition {kind!r}: choose one of {', '.join(made)}")
    return made[kind]()


class GuideByMeasurement(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideMeasurement",
            display_name="Guide by Measurement (DPS)",
            category=CATEGORY,
            description="Pull samples of a pixel prior towards agreement with a low-resolution image, in every step (Chung et al. 2023).",
            search_aliases=["dps", "posterior sampling", "guidance", "super resolution"],
            inputs=[
                io.Image.Input("image", tooltip="The low-resolution image, or one for each sample of the batch; alpha is ignored."),
                io.Float.Input(
                    "scale", default=0.3, min=0.0, max=1000.0, step=0.05, tooltip="Step along the gradient; 0.3 for 1000 steps, fewer need more."
                ),
                io.Boolean.Input("squared", default=False, tooltip="The squared residual of the paper in place of the norm of its code."),
                Guidance.Input("guidance", optional=True, tooltip="More guidance, which acts before this one."),
            ],
            outputs=[Guidance.Output("guidance", display_name="guidance")],
        )

    @classmethod
    def execute(cls, image, scale, squared, guidance=()):
        with torch.inference_mode(False):
            y = split(image.clone())[0] * 2 - 1
        return io.NodeOutput((*guidance, MeasurementGuidance(ReduceTo(tuple(y.shape[-2:])), y, scale, squared)))
