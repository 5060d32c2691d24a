"""Nodes for the tests alone, which the test server loads: pictures, networks that break or repeat,
what is loaded and held.
"""

from __future__ import annotations

import copy
import ctypes
import gc
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import torch
import torch.nn.functional as F


class ProbeImages:
    """Images of any count and channels, even none."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"count": ("INT",), "channels": ("INT",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "probe"

    def make(self, count, channels):
        return (torch.rand(count, 24, 40, channels, generator=torch.Generator().manual_seed(1)),)


class ProbeUpscaleModel:
    """An UPSCALE_MODEL that repeats pixels four times over."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("UPSCALE_MODEL",), "make", "probe"
    scale, model = 4, torch.nn.Identity()

    def make(self):
        places = (
            comfy.model_management.get_torch_device(),
            comfy.model_management.unet_offload_device(),
        )
        # newer hosts load the model by it
        self.patcher = comfy.model_patcher.ModelPatcher(self.model, *places)
        return (self,)

    def to(self, device):
        return self

    def __call__(self, x):
        return F.interpolate(x, scale_factor=4.0)


class ProbeVAE:
    """A VAE of eight pixels a side to one of four channels, which are means."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "probe"

    def make(self):
        return (self,)

    def spacial_compression_encode(self):
        return 8

    def encode(self, image):
        means = F.avg_pool2d(image.movedim(-1, 1), 8)
        return torch.cat([means, means.mean(1, keepdim=True)], 1) * 8 - 4


class ProbeNaN:
    """A MODEL whose answer is NaN below a noise level, as half precision may make it."""

    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"model": ("MODEL",), "below": ("FLOAT", {"default": 1.0})}}
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "probe"

    def make(self, model, below):
        def wrapped(apply, given):
            answer = apply(given["input"], given["timestep"], **given["c"])
            return torch.where((given["timestep"] < below).view(-1, 1, 1, 1), torch.nan, answer)

        model = model.clone()
        model.set_model_unet_function_wrapper(wrapped)
        return (model,)


class ProbeLoudVAE:
    """A copy of a VAE whose decoder begins with values beyond half precision, which its norms bring down
    again; in half precision or not.
    """

    INPUT_TYPES = classmethod(lambda cls: {"required": {"vae": ("VAE",), "half": ("BOOLEAN",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "probe"

    def make(self, vae, half):
        loud = copy.copy(vae)
        network = copy.deepcopy(vae.first_stage_model)
        with torch.no_grad():
            network.decoder.conv_in.weight.mul_(2e4)
        loud.first_stage_model = network.half() if half else network
        loud.patcher = comfy.model_patcher.ModelPatcher(
            loud.first_stage_model, vae.patcher.load_device, vae.patcher.offload_device
        )
        return (loud,)


class ProbeLoaded:
    """The kinds of models that the host holds on the compute device."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "look", "probe", True

    @classmethod
    def IS_CHANGED(cls):
        return float("nan")

    def look(self):
        held = comfy.model_management.loaded_models()
        return {
            "ui": {
                "text": sorted(
                    "nothing" if patcher is None else type(patcher.model).__name__ for patcher in held
                )
            }
        }


class ProbeMemory:
    """How many tensors the host's process holds, and how many bytes, once what is free is given back."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "look", "probe", True

    @classmethod
    def IS_CHANGED(cls):
        return float("nan")

    def look(self):
        gc.collect()
        # some objects answer anything that they are asked, so only types are looked at
        tensors = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {"ui": {"text": [str(tensors), str(pages * 4096)]}}


PROBES = (
    ProbeImages,
    ProbeUpscaleModel,
    ProbeVAE,
    ProbeNaN,
    ProbeLoudVAE,
    ProbeLoaded,
    ProbeMemory,
)
NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in PROBES}
