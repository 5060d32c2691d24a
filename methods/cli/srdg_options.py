"""SRDG on the command line: its options, and what they name made ready."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch

from ..priors.ncsnpp import NCSNppPrior
from ..srdg.attributes import Wish, load_wishes
from ..srdg.method import AUTO, PRESETS, SRDGSettings, load_sr_prior, network_name, preset
from .main import add_settings, given_settings


def add_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """All but --prior and --classifier, which other methods have too."""
    group = parser.add_argument_group("srdg")
    group.add_argument(
        "--attributes",
        default="",
        help="what the faces shall have, by name or number of the class: happy=1 or gender=male,glasses=0; needs --classifier unless one comes along",
    )
    group.add_argument(
        "--attribute-weights", default="", help="how much each weighs, where not 1: gender=2,beard=0.5"
    )
    group.add_argument(
        "--srdg-preset",
        choices=(AUTO, *PRESETS),
        default=AUTO,
        help="published: as the released code; paper: 2000 Euler steps at h 50; sde-sr: without attributes; shipped: 50 steps at h 10, for what "
        "comes along; auto: shipped for a network that comes along, else published (default auto)",
    )
    add_settings(group, SRDGSettings, prefix="srdg-", preset=True)
    return group


@dataclass(frozen=True)
class Chosen:
    """A network with its name, what is wished for, and the settings."""

    name: str
    prior: NCSNppPrior
    wanted: list[Wish]
    settings: SRDGSettings


def choose(options: argparse.Namespace, device: torch.device) -> Chosen:
    """Networks are on the device. Raises ValueError and FileNotFoundError."""
    name = network_name(options.prior)
    settings = preset(options.srdg_preset, name, **given_settings(SRDGSettings, options, "srdg-"))
    wanted, prior = (
        load_wishes(options.classifier, options.attributes, options.attribute_weights),
        load_sr_prior(name),
    )
    for network in (prior.network, *(wish.classifier.network for wish in wanted)):
        network.to(device)
    return Chosen(name, prior, wanted, settings)
