"""Softmax attention by one of torch's fused kernels, whose memory is linear in the positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax(q k^T / sqrt(c)) v for B heads L c, in the same shape (Vaswani et al. 2017, Eq. 1).

    The fused kernels keep their softmax in float32 for half inputs too. They need channels that lie side by
    side: without that torch falls back to the kernel whose memory grows with the square of L.
    """
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    if q.is_meta:  # where memory is counted torch would take the quadratic kernel, unlike any device
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0]
    return F.scaled_dot_product_attention(q, k, v)
