"""The nodes of the pack. Each unpacks its inputs, calls the library and packs the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from . import host
from .cfw import CFWDecode, LoadCFW
from .codeformer import CodeFormerRestore, LoadCodeFormer, RestoreAlignedFace
from .color import ColourCorrection, PreClean
from .degrade import DegradeImage
from .diffsr import DiffSRUpscale, LoadShippedPrior, RecoverableField
from .dpi import DPIConditions, DPIMasks, DPIUpscale, LoadCorrector
from .face_crops import CropFaces, PasteFaces
from .faces import DetectFaces, EnhanceOutside, FaceMask
from .guidance import (
    GuideByClassifier,
    GuideByClipping,
    GuideByConsistency,
    GuideByMeasurement,
    LoadNoiseClassifier,
)
from .guided import GuidedUpsampler
from .latents import ImageToPixelLatent, PixelLatentToImage
from .posterior import DPSUpscale, EDMDPSUpscale
from .quality import ImageQuality
from .resize import ResizeImage
from .restore_faces import RestoreFacesWith
from .sampling import ConditionPixelPrior, LoadPixelPrior, Sampler, SigmasByRespacing, TiledDenoiser
from .srcnn import SRCNNUpscale
from .srdg import AttributeGuide, AttributeReadOut, LoadAttributeClassifier, SRDGUpscale
from .stablesr import ApplyStableSR, LoadStableSR, StableSRStart
from .stablesr_upscale import StableSRUpscale

NODES = [
    SRCNNUpscale,
    DPSUpscale,
    EDMDPSUpscale,
    GuidedUpsampler,
    DiffSRUpscale,
    DPIUpscale,
    SRDGUpscale,
    StableSRUpscale,
    RestoreFacesWith,
    CodeFormerRestore,
    DetectFaces,
    CropFaces,
    PasteFaces,
    FaceMask,
    EnhanceOutside,
    LoadCodeFormer,
    RestoreAlignedFace,
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
    LoadAttributeClassifier,
    AttributeGuide,
    AttributeReadOut,
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
