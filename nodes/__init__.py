"""The nodes of the pack. Each unpacks its inputs, calls the library and packs the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from . import host
from .degrade import DegradeImage
from .posterior import DPSUpscale, EDMDPSUpscale
from .quality import ImageQuality
from .resize import ResizeImage
from .sampling import GuideByMeasurement, LoadPixelPrior, Sampler
from .srcnn import SRCNNUpscale

NODES = [SRCNNUpscale, DPSUpscale, EDMDPSUpscale, DegradeImage, ResizeImage, ImageQuality, LoadPixelPrior, Sampler, GuideByMeasurement]


class PriorSRExtension(ComfyExtension):
    async def get_node_list(self):
        host.register_folders()
        return NODES
