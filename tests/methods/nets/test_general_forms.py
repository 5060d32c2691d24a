"""Networks at settings that no released file has: the first convolutions are as wide as published ones."""

from __future__ import annotations

import torch

from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.dhariwal_unet import DhariwalUNet
from priorsr.methods.nets.srdg_released import infer_densenet


def test_densenet_begins_with_bottleneck_times_growth_channels():
    config = DenseNetConfig(16, (1, 1), 4, 3, 2)
    network = DenseNet(config)
    assert network.Conv_0.out_channels == network.Dense_2.out_features == 12
    assert network(torch.rand(2, 3, 16, 16), torch.tensor([0.1, 1.0])).shape == (2, 2)
    assert infer_densenet(network.state_dict()) == config


def test_dhariwal_unet_begins_with_the_width_of_its_first_level():
    network = DhariwalUNet(8, 3, 3, model_channels=8, channel_mult=(2, 3), num_blocks=1, attn_resolutions=())
    assert network.enc["8x8_conv"].out_channels == 16
    assert network(torch.rand(1, 3, 8, 8), torch.zeros(1)).shape == (1, 3, 8, 8)
