"""The nodes of the pack. Each unpacks its inputs, calls the library and packs the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from . import host
from .degrade import DegradeImage
from .guidance import GuideByClassifier, GuideByClipping, GuideByMeasurement, LoadNoiseClassifier
from .guided import GuidedUpsampler
from .posterior import DPSUpscale, EDMDPSUpscale
from .quality import ImageQuality
from .resize import ResizeImage
from .sampling import ConditionPixelPrior, LoadPixelPrior, Sampler, SigmasByRespacing, TiledDenoiser
from .srcnn import SRCNNUpscale

NODES = [
    SRCNNUpscale,
    DPSUpscale,
    EDMDPSUpscale,
    GuidedUpsampler,
    DegradeImage,
    ResizeImage,
    ImageQuality,
    LoadPixelPrior,
    ConditionPixelPrior,
    TiledDenoiser,
    SigmasByRespacing,
    Sampler,
    GuideByMeasurement,
    LoadNoiseClassifier,
    GuideByClassifier,
    GuideByClipping,
]


class PriorSRExtension(ComfyExtension):
    async def get_node_list(self):
        host.register_folders()
        return NODES
