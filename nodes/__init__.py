"""The nodes of the pack. Each unpacks its inputs, calls the library and packs the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from . import host
from .degrade import DegradeImage
from .diffsr import DiffSRUpscale, LoadShippedPrior, RecoverableField
from .dpi import DPIConditions, DPIMasks, DPIUpscale, LoadCorrector
from .guidance import GuideByClassifier, GuideByClipping, GuideByConsistency, GuideByMeasurement, LoadNoiseClassifier
from .guided import GuidedUpsampler
from .latents import ImageToPixelLatent, PixelLatentToImage
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
    DiffSRUpscale,
    DPIUpscale,
    DegradeImage,
    ResizeImage,
    ImageQuality,
    LoadShippedPrior,
    LoadCorrector,
    LoadPixelPrior,
    ConditionPixelPrior,
    ImageToPixelLatent,
    PixelLatentToImage,
    RecoverableField,
    TiledDenoiser,
    SigmasByRespacing,
    Sampler,
    GuideByMeasurement,
    GuideByConsistency,
    DPIConditions,
    DPIMasks,
    LoadNoiseClassifier,
    GuideByClassifier,
    GuideByClipping,
]


class PriorSRExtension(ComfyExtension):
    async def get_node_list(self):
        host.register_folders()
        return NODES
