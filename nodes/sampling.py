"""Sampler, guidance, sigmas: parts for the host's own sampling graphs."""

from __future__ import annotations

from comfy_api.latest import io

from ..methods.stablesr.levels import in_place_of as released_levels
from ..samplers.karras import DPMpp2M, Euler, Heun
from ..samplers.sde import EulerMaruyama, ReverseDiffusion
from ..samplers.transition import DDIM, DDPM, Renoise
from . import host
from .guidance import CATEGORY, Guidance
from .host import guided as host_guided
from .host import model as host_model


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        number = io.Float.Input
        options = {
            "ddpm": [
                io.Combo.Input(
                    "variance",
                    options=["small", "large"],
                    default="small",
                    tooltip="beta~ or beta; small suits few steps.",
                )
            ],
            "ddim": [
                number(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0 is deterministic, 1 as random as ddpm.",
                )
            ],
            "renoise": [
                number(
                    "renewed",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of the noise drawn anew (DDNM): more is more faithful, less varied.",
                )
            ],
            "euler": [],
            "heun": [
                number(
                    "churn",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.5,
                    tooltip="Fresh noise along the way (S_churn).",
                )
            ],
            "dpmpp_2m": [],
            "reverse_diffusion": [
                io.Int.Input(
                    "corrections",
                    default=0,
                    min=0,
                    max=10,
                    tooltip="Langevin steps before each step; each is one more network call.",
                ),
                number(
                    "snr",
                    default=0.16,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Signal-to-noise ratio of those steps.",
                ),
            ],
            "euler_maruyama": [],
            "ddim_released": [
                number(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0 is deterministic, 1 as random as ddpm.",
                )
            ],
        }
        choices = [io.DynamicCombo.Option(name, inputs) for name, inputs in options.items()]
        return host.schema(
            node_id="PriorSRSampler",
            display_name="Sampler (PriorSR)",
            category=CATEGORY,
            description=(
                "The papers' sampling loop as a SAMPLER, with guidance, for any MODEL that "
                "predicts noise. Each image has its own noise."
            ),
            search_aliases=["ddpm", "ddim", "heun", "guidance", "sampler"],
            inputs=[
                io.DynamicCombo.Input(
                    "transition", options=choices, tooltip="How one step goes to the next."
                ),
                Guidance.Input(
                    "guidance", optional=True, tooltip="What pulls the samples, such as Guide by Measurement."
                ),
            ],
            outputs=[io.Sampler.Output("sampler", display_name="SAMPLER")],
        )

    @classmethod
    def execute(cls, transition=None, guidance=()):
        kind, choice = host.chosen(transition, "transition", TRANSITIONS)
        levels = released_levels if kind == "ddim_released" else None
        return io.NodeOutput(host_model.as_sampler(TRANSITIONS[kind](choice), guidance, levels_for=levels))


class ApplyGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRApplyGuidance",
            display_name="Apply Guidance to Model",
            category=CATEGORY,
            description=(
                "A MODEL whose predictions carry guidance, for KSampler and any other sampler, with CFG, "
                "LoRA and tiles. With euler and ddim it is what Sampler (PriorSR) does."
            ),
            search_aliases=[
                "guidance",
                "ksampler",
                "dps",
                "ddnm",
                "dpi",
                "patch model",
                "posterior sampling",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Pixel or latent; the copy that comes out goes to any sampler."
                ),
                Guidance.Input("guidance", tooltip="What pulls the samples, such as Guide by Measurement."),
            ],
            outputs=[io.Model.Output("model", display_name="MODEL")],
        )

    @classmethod
    def execute(cls, model, guidance):
        return io.NodeOutput(host_guided.guided(model, guidance))


class ApplyGuidanceToGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRApplyGuidanceToGuider",
            display_name="Apply Guidance to Guider",
            category=CATEGORY,
            description=(
                "A GUIDER whose predictions carry guidance, for SamplerCustomAdvanced: as Apply Guidance to "
                "Model, for what comes out of any guider."
            ),
            search_aliases=["guidance", "guider", "dps", "ddnm", "posterior sampling"],
            inputs=[
                io.Guider.Input("guider", tooltip="Such as Basic Guider or CFG Guider; it stays as it is."),
                Guidance.Input("guidance", tooltip="What pulls the samples, such as Guide by Measurement."),
            ],
            outputs=[io.Guider.Output("guider", display_name="GUIDER")],
        )

    @classmethod
    def execute(cls, guider, guidance):
        return io.NodeOutput(host_guided.guided_guider(guider, guidance))


TRANSITIONS = {
    "ddpm": lambda choice: DDPM(choice["variance"]),
    "ddim": lambda choice: DDIM(choice["eta"]),
    "renoise": lambda choice: Renoise(choice["renewed"]),
    "euler": lambda choice: Euler(),
    "heun": lambda choice: Heun(choice["churn"], c_noise=float),
    "dpmpp_2m": lambda choice: DPMpp2M(),
    "reverse_diffusion": lambda choice: ReverseDiffusion(choice["corrections"], choice["snr"]),
    "euler_maruyama": lambda choice: EulerMaruyama(),
    "ddim_released": lambda choice: DDIM(choice["eta"]),  # steps as ddim does, on other levels
}


class SigmasByRespacing(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRSigmasByRespacing",
            display_name="Sigmas by Respacing",
            category=CATEGORY,
            description=(
                "The noise levels of some of a MODEL's training steps, kept by the rules of guided "
                "diffusion, as SIGMAS."
            ),
            search_aliases=["scheduler", "timestep respacing", "ddim25", "steps", "sigmas"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Any MODEL trained in steps: ADM priors, Stable Diffusion. EDM priors are not.",
                ),
                io.String.Input(
                    "respacing",
                    default="250",
                    tooltip="250 steps evenly, 10,10 in sections, ddim25 by one stride; empty for all.",
                ),
                io.Int.Input(
                    "start",
                    default=-1,
                    min=-1,
                    max=100_000,
                    tooltip="The kept step to start from, 0 the least noisy; -1 the noisiest, so all.",
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas", display_name="SIGMAS")],
        )

    @classmethod
    def execute(cls, model, respacing, start):
        return io.NodeOutput(host_model.respaced_sigmas(model, respacing, start))
