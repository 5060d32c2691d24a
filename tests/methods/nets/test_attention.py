"""Every attention of every network takes a fused kernel, whatever the memory format of the maps."""

import pytest
import torch
from torch.nn.attention import SDPBackend

from priorsr.methods.nets.adm_blocks import AttentionBlock
from priorsr.methods.nets.autoencoder_blocks import AttnBlock
from priorsr.methods.nets.codeformer_blocks import TransformerLayer
from priorsr.methods.nets.edm_blocks import BlockStyle, UNetBlock
from priorsr.methods.nets.ncsnpp import AttnBlockpp
from priorsr.methods.nets.open_clip_text import TextBlock
from priorsr.methods.nets.sd_unet import Attention

FUSED = {SDPBackend.FLASH_ATTENTION.value, SDPBackend.EFFICIENT_ATTENTION.value}
STYLE = BlockStyle(1e-5, 1.0, True, True, 32, (1.0, 1.0), 0.0)
BLOCKS = {
    "adm": lambda: AttentionBlock(64, 2),
    "adm in the new order": lambda: AttentionBlock(64, 2, new_order=True),
    "autoencoder": lambda: AttnBlock(64),
    "ncsnpp": lambda: AttnBlockpp(64),
    "edm": lambda: UNetBlock(64, 64, 16, STYLE, attention=True),
}


@pytest.fixture
def kernels(monkeypatch):
    """The kernels that torch chooses, one number a call."""
    chosen = []
    whole = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **options):
        chosen.append(torch._fused_sdp_choice(*args, **options))
        return whole(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    return chosen


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_maps_are_attended_by_a_fused_kernel(kernels, name, memory):
    x = torch.randn(1, 64, 12, 12).to(memory_format=memory)
    block = BLOCKS[name]().eval()
    block(x, torch.zeros(1, 16)) if name == "edm" else block(x)
    assert kernels
    assert set(kernels) <= FUSED


@torch.no_grad()
def test_tokens_are_attended_by_a_fused_kernel(kernels):
    x, context = torch.randn(2, 20, 64), torch.randn(2, 7, 48)
    Attention(64, 2)(x)
    Attention(64, 2, 48)(x, context)
    TransformerLayer(64, 2, 128).train()(x, torch.zeros(20, 64))
    TextBlock(64).train()(x, torch.zeros(20, 20))
    assert len(kernels) == 4
    assert set(kernels) <= FUSED
