"""The test of SRCNN as published by SRCNN-pytorch, number for number; for comparison with its figures
only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from priorsr.methods.imaging.color import BT601_SRCNN, luma, rgb_to_ycbcr, ycbcr_to_rgb
from priorsr.methods.imaging.resize import resize_uint8
from priorsr.methods.metrics.fidelity import psnr
from priorsr.methods.nets.srcnn import SRCNN


@dataclass(frozen=True)
class PublishedTest:
    """Every stage of the test: uint8 pictures C H W, YCbCr in 0..255, the network's raw output 1 1 H W, three
    PSNR figures.
    """

    hr: Tensor
    lr: Tensor
    bicubic: Tensor
    ycbcr: Tensor
    raw: Tensor
    rgb_float: Tensor
    rgb_uint8: Tensor
    psnr_printed: Tensor  # against the bicubic picture, which is what the script prints
    psnr_vs_hr: Tensor
    psnr_bicubic_vs_hr: Tensor


def published_srcnn_test(network: SRCNN, image: Tensor, scale: int) -> PublishedTest:
    """Reduce a uint8 RGB picture 3 H W and restore it (test.py): sizes are made divisible by resizing, RGB is
    truncated.
    """
    hr = resize_uint8(image, (image.shape[1] // scale * scale, image.shape[2] // scale * scale))
    lr = resize_uint8(hr, (hr.shape[1] // scale, hr.shape[2] // scale))
    bicubic = resize_uint8(lr, tuple(hr.shape[1:]))
    ycbcr = rgb_to_ycbcr(bicubic.float(), BT601_SRCNN)
    raw = network(ycbcr[None, :1] / 255)
    restored = raw.clamp(0, 1)
    rgb = ycbcr_to_rgb(torch.cat([restored[0] * 255, ycbcr[1:]]), BT601_SRCNN).clamp(0, 255)
    true = luma(hr.float(), BT601_SRCNN)[None] / 255
    enlarged = ycbcr[None, :1] / 255
    return PublishedTest(
        hr=hr,
        lr=lr,
        bicubic=bicubic,
        ycbcr=ycbcr,
        raw=raw,
        rgb_float=rgb,
        rgb_uint8=rgb.to(torch.uint8),
        psnr_printed=psnr(restored, enlarged),
        psnr_vs_hr=psnr(restored, true),
        psnr_bicubic_vs_hr=psnr(enlarged, true),
    )
