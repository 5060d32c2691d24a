"""SRCNN's golden cases."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from reference.srcnn import published_srcnn_test
from torch import Tensor

from priorsr.methods.imaging.color import BT601_SRCNN, luma, rgb_to_ycbcr, ycbcr_to_rgb
from priorsr.methods.imaging.images import to_uint8
from priorsr.methods.metrics.fidelity import psnr, psnr_uint8_wraparound
from priorsr.methods.nets.srcnn import SRCNN


@adapter("srcnn", "forward")
def srcnn_forward(case: Case) -> dict[str, Tensor]:
    config = case.config
    network = case.fill(
        SRCNN(
            config["num_channels"],
            tuple(config["filters"]),
            tuple(config["kernels"]),
            tuple(config["paddings"]),
        )
    )
    first, second = network.features(case.inputs["x"])
    return {
        "out": network(case.inputs["x"]),
        "feat1_mean": first.mean((2, 3)),
        "feat2_mean": second.mean((2, 3)),
    }


@adapter("srcnn", "pipeline")
def srcnn_pipeline(case: Case) -> dict[str, Tensor]:
    network = case.fill(SRCNN(case.config["num_channels"]))
    with torch.no_grad():
        network.conv3.weight.mul_(case.config["conv3_gain"])
        network.conv3.bias.mul_(case.config["conv3_gain"]).add_(case.config["conv3_shift"])
        return vars(published_srcnn_test(network, case.inputs["image"].to(torch.uint8), case.config["scale"]))


@adapter("srcnn", "color")
def srcnn_color(case: Case) -> dict[str, Tensor]:
    ycbcr = rgb_to_ycbcr(case.inputs["rgb"], BT601_SRCNN)
    return {
        "y": luma(case.inputs["rgb"], BT601_SRCNN)[0],
        "ycbcr": ycbcr,
        "back": ycbcr_to_rgb(ycbcr, BT601_SRCNN),
    }


@adapter("srcnn", "psnr")
def srcnn_psnr(case: Case) -> dict[str, Tensor]:
    a, b = case.inputs["a"], case.inputs["b"]
    a8, b8 = to_uint8(a), to_uint8(b)
    return {
        "psnr_unit_range": psnr(a, b),
        "psnr_255": psnr(a8.double(), b8.double(), 255),
        "psnr_uint8_wraparound": psnr_uint8_wraparound(a8, b8),
    }
