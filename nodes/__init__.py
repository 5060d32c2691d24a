"""The nodes of the pack. Each unpacks its inputs, calls the library and packs the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from . import host
from .cfw import CFWDecode, LoadCFW
from .codeformer import CodeFormerRestore, LoadCodeFormer, RestoreAlignedFace
from .color import ColourCorrection, PreClean
from .degrade import DegradeImage
from .diffsr import LoadShippedPrior, RecoverableField
from .dpi import DPIConditions, DPIMasks, LoadCorrector
from .face_crops import CropFaces, PasteFaces
from .face_regions import FacesFromRegions, FacesToRegions
from .faces import DetectFaces, EnhanceOutside, FaceMask
from .guidance import (
    GuideByClassifier,
    GuideByClipping,
    GuideByConsistency,
    GuideByMeasurement,
    LoadNoiseClassifier,
)
from .latents import ImageToPixelLatent, PixelLatentToImage
from .pixel_priors import ConditionPixelPrior, LoadPixelPrior
from .quality import ImageQuality
from .resize import ResizeImage
from .restore_faces import RestoreFacesWith
from .sample import SamplePicture
from .sampling import ApplyGuidance, ApplyGuidanceToGuider, Sampler, SigmasByRespacing
from .srdg import AttributeGuide, AttributeReadOut, LoadAttributeClassifier
from .stablesr import ApplyStableSR, LoadStableSR, StableSRStart
from .stablesr_upscale import StableSRUpscale
from .texts import TEXTS
from .tiles import TiledDenoiser
from .upscale import upscale_nodes

OWN = [StableSRUpscale]  # of methods whose networks are the host's own
NODES = [
    RestoreFacesWith,
    CodeFormerRestore,
    DetectFaces,
    CropFaces,
    PasteFaces,
    FacesFromRegions,
    FacesToRegions,
    FaceMask,
    EnhanceOutside,
    LoadCodeFormer,
    RestoreAlignedFace,
    SamplePicture,
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
    ApplyGuidance,
    ApplyGuidanceToGuider,
    LoadStableSR,
    ApplyStableSR,
    StableSRStart,
    LoadCFW,
    CFWDecode,
]


class PriorSRExtension(ComfyExtension):
    async def get_node_list(self):
        host.register_folders()
        taken = [node.GET_SCHEMA().node_id for node in OWN]
        return [host.checked(node, TEXTS, host.unfit) for node in (*upscale_nodes(but=taken), *OWN, *NODES)]
