"""Tiny networks of SRDG with random weights."""

from __future__ import annotations

import pytest
from fill import filled, tensor
from srdg_tiny import CONFIG, SIDE

from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.ncsnpp import NCSNpp
from priorsr.methods.priors.ncsnpp import NCSNppPrior
from priorsr.methods.srdg.attributes import CLASSES, AttributeClassifier


@pytest.fixture(scope="module")
def classifiers():
    """One of each published attribute, whose answers differ."""
    networks = [filled(DenseNet(DenseNetConfig(SIDE, (2, 1), 4))) for _ in CLASSES]
    for i, network in enumerate(networks):
        network.Dense_3.weight.mul_(1 + i)  # three that differ
    return [
        AttributeClassifier(network, name, CLASSES[name])
        for network, name in zip(networks, CLASSES, strict=True)
    ]


@pytest.fixture(scope="module")
def gender(classifiers):
    return classifiers[0]


@pytest.fixture(scope="module")
def prior():
    return NCSNppPrior(filled(NCSNpp(CONFIG), "sigmas"))


@pytest.fixture
def low():
    """Two pictures to enlarge, 2 3 4 4."""
    return tensor("low", (2, 3, 4, 4)).clamp(-2, 2) / 4 + 0.5
