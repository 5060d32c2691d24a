"""The nodes of the pack. Each unpacks its inputs, calls the library and packs the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from . import host
from .cfw import CFWDecode, LoadCFW
from .color import ColourCorrection, PreClean
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
from .stablesr import ApplyStableSR, LoadStableSR, StableSRStart
from .stablesr_upscale import StableSRUpscale

NODES = [
    SRCNNUpscale,
    DPSUpscale,
    EDMDPSUpscale,
    GuidedUpsampler,
    DiffSRUpscale,
    DPIUpscale,
    StableSRUpscale,
    DegradeImage,
    ResizeImage,
    ColourCorrection,
    PreClean,
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
    LoadStableSR,
    ApplyStableSR,
    StableSRStart,
    LoadCFW,
    CFWDecode,
]


class PriorSRExtension(ComfyExtension):
    async def get_node_list(self):
        host.register_folders()
        return NODES
