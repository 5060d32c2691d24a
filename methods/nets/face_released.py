"""Networks of faces from their state dicts: sizes from shapes, or from what a file of ours says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from .codeformer import CodeFormer, CodeFormerConfig
from .codeformer_vqgan import VQGAN, VQGANConfig
from .mtcnn import MTCNN
from .parsenet import ParseNet, ParseNetConfig
from .retinaface import RetinaFace

State = Mapping[str, Tensor]


def settings_text(config: CodeFormerConfig | VQGANConfig) -> str:
    """The `settings` that a saved file needs when it is not of the released sizes."""
    return json.dumps(asdict(config))


def build_vqgan(state: State, metadata: Mapping[str, str]) -> VQGAN:
    return VQGAN(_vqgan(json.loads(metadata["settings"])) if "settings" in metadata else _infer_vqgan(state))


def build_codeformer(state: State, metadata: Mapping[str, str]) -> CodeFormer:
    """Without settings the released 512 pixels and 8 heads, which no shape tells."""
    if "settings" in metadata:
        saved = json.loads(metadata["settings"])
        return CodeFormer(
            CodeFormerConfig(**{**saved, "vqgan": _vqgan(saved["vqgan"]), "fused": tuple(saved["fused"])})
        )
    fused = sorted(int(side) for side in _children(state, "fuse_convs_dict."))
    layers = len(_children(state, "ft_layers."))
    return CodeFormer(
        CodeFormerConfig(_infer_vqgan(state), state["position_emb"].shape[1], 8, layers, tuple(fused))
    )


def build_retinaface(state: State, metadata: Mapping[str, str]) -> RetinaFace:
    return RetinaFace("resnet50" if "body.layer1.0.conv1.weight" in state else "mobile0.25")


def build_parsenet(state: State, metadata: Mapping[str, str]) -> ParseNet:
    """For pictures of 512 pixels, as released."""
    halvings = len(_children(state, "encoder.")) - 1
    width, classes = (state[f"{name}.conv2d.weight"].shape[0] for name in ("encoder.0", "out_mask_conv"))
    return ParseNet(
        ParseNetConfig(
            smallest=512 >> halvings, width=width, classes=classes, depth=len(_children(state, "body."))
        )
    )


def build_mtcnn(state: State, metadata: Mapping[str, str]) -> MTCNN:
    return MTCNN()


def _infer_vqgan(state: State) -> VQGANConfig:
    codes, channels = state["quantize.embedding.weight"].shape
    return VQGANConfig(width=state["encoder.blocks.0.weight"].shape[0], codes=codes, code_channels=channels)


def _vqgan(saved: Mapping[str, Any]) -> VQGANConfig:
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return VQGANConfig(**settings)


def _children(state: State, prefix: str) -> set[str]:
    """What follows the prefix, up to the next dot, in any key."""
    return {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
