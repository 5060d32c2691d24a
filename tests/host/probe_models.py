"""MODELs for the tests alone, which the test server loads: small latent models, and conditions for them that
follow the picture."""

from __future__ import annotations

import math
import zlib

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.utils
import folder_paths
import torch
import torch.nn.functional as F

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "context_dim": 16,
    "use_spatial_transformer": True,
    "legacy": False,
    "dtype": torch.float32,
}


class Pixelwise(torch.nn.Module):
    """Each value of the answer depends on what lies at its own place, so tiles that are cut rightly change
    nothing.
    """

    dtype = torch.float32

    def forward(
        self,
        x,
        timesteps,
        context=None,
        control=None,
        transformer_options=None,
        half=None,
        odd=None,
        several=None,
    ):
        chunks = len(transformer_options["cond_or_uncond"])
        assert len(transformer_options["uuids"]) == chunks
        assert len(x) % chunks == 0
        answer = (
            0.5 * torch.tanh(x[:, :4])
            + 0.01 * timesteps.view(-1, 1, 1, 1) / 1000
            + context.mean((1, 2)).view(-1, 1, 1, 1)
        )
        answer = answer + 0.3 * x[:, 4:] if x.shape[1] > 4 else answer
        answer = answer if half is None else answer + F.interpolate(half, scale_factor=2)
        return answer if control is None else answer + control["output"][1]


class MappedModel(comfy.model_base.BaseModel):
    def extra_conds(self, **given):
        conds = super().extra_conds(**given)
        conds |= {name: comfy.conds.CONDRegular(given[name]) for name in ("half", "odd") if name in given}
        if "several" in given:
            conds["several"] = comfy.conds.CONDList(given["several"])
        return conds


class ProbeModel:
    """A MODEL with the shape of Stable Diffusion, and two CONDITIONINGs for it; `conditions` name what
    follows the picture.
    """

    INPUT_TYPES = classmethod(
        lambda cls: {
            "required": {
                "kind": (["unet", "pixelwise"],),
                "conditions": ("STRING", {"default": ""}),
                "side": ("INT", {"default": 16}),
            }
        }
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CONDITIONING", "CONDITIONING"), "make", "probe"

    def make(self, kind, conditions, side):
        config = comfy.supported_models.SD15(
            UNET | ({"disable_unet_model_creation": True} if kind == "pixelwise" else {})
        )
        config.manual_cast_dtype = None
        model = MappedModel(config, device=torch.device("cpu"))
        draw = torch.Generator().manual_seed(1)
        if kind == "pixelwise":
            model.diffusion_model = Pixelwise()
        for name, value in model.diffusion_model.named_parameters():
            with torch.no_grad():
                if value.ndim > 1:
                    value.copy_(torch.randn(value.shape, generator=draw) / math.sqrt(value[0].numel()))
                else:
                    value.fill_(1.0 if name.endswith("weight") else 0.0)
        patcher = comfy.model_patcher.ModelPatcher(
            model, comfy.model_management.get_torch_device(), torch.device("cpu")
        )
        maps = {
            "concat": ("noise_concat", torch.randn(1, 4, side, side, generator=draw)),
            "half": ("half", torch.randn(1, 4, side // 2, side // 2, generator=draw)),
            "odd": ("odd", torch.randn(1, 4, side, side - 3, generator=draw)),
            "several": ("several", [torch.randn(1, 4, side, side, generator=draw)]),
            "control": ("control", Control([None, torch.randn(1, 4, side, side, generator=draw)])),
            "tokens": ("control", Control([None, torch.randn(1, 9, 4, generator=draw)])),
        }
        extra = dict(maps[name] for name in conditions.split())
        positive, negative = ([[torch.randn(1, 7, 16, generator=draw) * 0.3, dict(extra)]] for _ in range(2))
        return patcher, positive, negative


class ProbeStableDiffusion:
    """A tiny checkpoint in the form of Stable Diffusion 2.1, which the host's loader would not know by its
    width.
    """

    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"),)}}
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CLIP", "VAE"), "load", "probe"

    def load(self, ckpt_name):
        state = comfy.utils.load_torch_file(
            folder_paths.get_full_path_or_raise("checkpoints", ckpt_name), safe_load=True
        )
        shape = {
            "model_channels": 64,
            "context_dim": 24,
            "transformer_depth": [1, 0],
            "transformer_depth_output": [1, 1, 0, 0],
        }
        more = {
            "use_linear_in_transformer": True,
            "num_head_channels": 64,
            "num_heads": -1,
            "adm_in_channels": None,
        }
        config = comfy.supported_models.SD20(UNET | shape | more)
        config.manual_cast_dtype = None
        model = comfy.model_base.BaseModel(config, device=torch.device("cpu"))
        unet = {
            key.removeprefix("model.diffusion_model."): value
            for key, value in state.items()
            if key.startswith("model.")
        }
        model.diffusion_model.load_state_dict(unet)
        autoencoder = {
            key.removeprefix("first_stage_model."): value
            for key, value in state.items()
            if key.startswith("first_stage_model.")
        }
        levels = {
            "ch": 32,
            "ch_mult": [1, 1, 2, 2],
            "num_res_blocks": 1,
            "z_channels": 4,
            "double_z": True,
            "attn_resolutions": [],
        }
        ddconfig = levels | {"resolution": 256, "in_channels": 3, "out_ch": 3, "dropout": 0.0}
        vae = comfy.sd.VAE(sd=autoencoder, config={"params": {"ddconfig": ddconfig, "embed_dim": 4}})
        return (
            comfy.model_patcher.ModelPatcher(
                model, comfy.model_management.get_torch_device(), torch.device("cpu")
            ),
            self,
            vae,
        )


class ProbePrompt:
    """Tokens for it that depend on the text."""

    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"text": ("STRING", {"default": ""}), "clip": ("CLIP",)}}
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "encode", "probe"

    def encode(self, text, clip):
        return (
            [
                [
                    torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(zlib.crc32(text.encode())))
                    * 0.3,
                    {},
                ]
            ],
        )


class ProbeControl:
    """A prompt with a ControlNet's map for the finest level of the tiny UNet."""

    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"conditioning": ("CONDITIONING",), "width": ("INT",), "height": ("INT",)}}
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "apply", "probe"

    def apply(self, conditioning, width, height):
        maps = [
            torch.randn(1, 64, height, width, generator=torch.Generator().manual_seed(1)),
            None,
            None,
        ]  # the coarsest comes last
        return ([[tokens, {**extra, "control": Control(maps)}] for tokens, extra in conditioning],)


class Control:
    """What the host asks of a ControlNet, with the same answer in every step."""

    extra_hooks = previous_controlnet = None

    def get_extra_hooks(self):
        return []

    def __init__(self, maps):
        self.maps = maps
        self.multigpu_clones = {}  # which newer hosts ask for

    def get_control(self, x, t, cond, batched_number, transformer_options):
        return {"output": [None if m is None else m.expand(len(x), *m.shape[1:]) for m in self.maps]}

    def get_models(self):
        return []

    def inference_memory_requirements(self, dtype):
        return 0

    def pre_run(self, model, percent_to_timestep_function):
        pass

    def cleanup(self):
        pass


PROBES = (ProbeModel, ProbeStableDiffusion, ProbePrompt, ProbeControl)
NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in PROBES}
