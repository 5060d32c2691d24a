"""Text encoders of OpenCLIP's form with random weights."""

from __future__ import annotations

import torch
from torch import Tensor

from priorsr.methods.nets.open_clip_text import BLOCKS, LENGTH, VOCABULARY


def text_state(width: int) -> dict[str, Tensor]:
    """Under the published keys, the last block and the projection included, which Stable Diffusion does not use."""
    shapes = {
        "positional_embedding": (LENGTH, width),
        "text_projection": (width, width),
        "logit_scale": (),
        "token_embedding.weight": (VOCABULARY, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for i in range(BLOCKS + 1):
        block = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (width, 4 * width),
            "mlp.c_proj.bias": (width,),
        }
        shapes |= {f"transformer.resblocks.{i}.{key}": shape for key, shape in block.items()}
    draw = torch.Generator().manual_seed(0)
    norms = {key: 1.0 for key in shapes if key.endswith(".weight") and ".ln_" in f".{key}"}
    return {
        key: norms.get(key, 0.0) + 0.3 * torch.randn(shape, generator=draw) / max(1, len(shape)) ** 2
        for key, shape in shapes.items()
    }
