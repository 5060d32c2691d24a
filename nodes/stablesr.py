"""Load StableSR, Apply StableSR, StableSR Start: parts for the host's own sampling graphs."""

from __future__ import annotations

from comfy_api.latest import io

from ..methods.stablesr.load import LAYER_FILES, load_layers
from . import host
from .cfw import CATEGORY
from .host import stablesr as host_stablesr
from .upscale import SEED

StableSRLayers = io.Custom("PRIORSR_STABLESR")


class LoadStableSR(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadStableSR",
            display_name="Load StableSR",
            category=CATEGORY,
            description=(
                "What StableSR adds to Stable Diffusion: the encoder of the input and the layers "
                "it modulates. Whole or extracted files."
            ),
            search_aliases=["stablesr", "super resolution", "sft", "struct cond", "load model"],
            inputs=[
                host.file_input(
                    "stablesr",
                    LAYER_FILES,
                    "A file such as stablesr_000117.ckpt or webui_768v_139.ckpt, from models/priorsr.",
                )
            ],
            outputs=[StableSRLayers.Output("stablesr", display_name="StableSR")],
        )

    @classmethod
    def execute(cls, stablesr):
        with host.loading():
            return io.NodeOutput(
                host_stablesr.as_layers(load_layers(str(host.weight_path(stablesr))), stablesr)
            )


class ApplyStableSR(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRApplyStableSR",
            display_name="Apply StableSR",
            category=CATEGORY,
            description=(
                "Make Stable Diffusion 2.1 restore a low-resolution picture (StableSR, Wang et al. "
                "2024), with any sampler, guider and LoRA."
            ),
            search_aliases=["stablesr", "super resolution", "upscale", "restoration", "sft"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "Stable Diffusion 2.1 base, SD-Turbo, or the 768-pixel model with its own "
                        "weights. It stays as it is."
                    ),
                ),
                StableSRLayers.Input("stablesr", tooltip="From Load StableSR."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip=(
                        "The input, enlarged to the size of the result and encoded; without it, the "
                        "latent that goes into the sampler."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="MODEL"),
                io.String.Output(
                    "report", display_name="report", tooltip="What to beware of; empty where nothing is."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, stablesr, latent=None):
        warning = host_stablesr.unlike_target(model, stablesr.name)
        if warning:
            host.log.warning("PriorSR: %s", warning)
        patched = host_stablesr.patched(model, stablesr, latent and latent["samples"])
        return host.told(patched, warning, text=warning)


class StableSRStart(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRStableSRStart",
            display_name="StableSR Start",
            category=CATEGORY,
            description=(
                "The NOISE that StableSR's runs begin with as published, for the latent of the "
                "input. Each image has its own."
            ),
            search_aliases=["stablesr", "noise", "q_sample", "seed"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL that will sample."),
                io.Sigmas.Input("sigmas", tooltip="Of the run, such as from Sigmas by Respacing."),
                io.Combo.Input(
                    "start",
                    options=["lr", "noise"],
                    default="noise",
                    tooltip=(
                        "noise: nothing but noise, as in the paper. lr: the sampler's latent, noised, "
                        "as released for large pictures."
                    ),
                ),
                io.Int.Input("seed", tooltip="Of the first image; the next ones follow.", **SEED),
            ],
            outputs=[io.Noise.Output("noise", display_name="NOISE")],
        )

    @classmethod
    def execute(cls, model, sigmas, start, seed):
        if not len(sigmas) or sigmas[0] <= 0:
            raise ValueError("the run has no noise level to start at: connect sigmas that begin above 0")
        return io.NodeOutput(host_stablesr.StartNoise(model, float(sigmas[0]), start, seed))
