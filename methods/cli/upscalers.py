"""How `priorsr upscale` enlarges by each method, and the options of each, which are those of the settings it uses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from ..diffsr.method import DiffSRSettings, diffsr_upscale
from ..dpi import presets as choice
from ..dpi.method import PRESETS as STRENGTHS
from ..dpi.method import DPISettings, dpi_upscale, levels_of
from ..dps.posterior import posterior_upscale, steps_of
from ..dps.sampling import DPSSettings
from ..imaging.canvas import CanvasSettings
from ..imaging.resize import resize, scaled_size
from ..priors.load import PriorSettings, load_classifier, load_prior
from ..priors.typicality import misfit, untypical
from ..srdg.method import srdg_upscale
from ..visionrefine.edm_dps import EDMDPSSettings
from ..visionrefine.guided import GuidedSettings, check_guided, guided_upscale
from ..visionrefine.guided import steps_of as guided_steps
from ..visionrefine.srcnn import SRCNNSettings, load_srcnn, srcnn_upscale
from . import srdg_options as srdg
from . import stablesr_options as stablesr
from .main import add_settings, given_settings, log, read_settings

SHIPPED_PRIOR = "face64"
Upscaler = Callable[[Tensor], Tensor]  # pixels 1 C h w in 0..1 to 1 C H W on the CPU
AtScale = Callable[[float], Upscaler]  # what does not depend on the scale is loaded once for all
CLEANED = (
    2.0  # how much a method that cleans pictures for StableSR enlarges them before they are reduced again
)


def add_upscalers(parser: argparse.ArgumentParser) -> None:
    """The options of each method, in groups."""
    group = parser.add_argument_group("srcnn")
    group.add_argument(
        "--weights",
        help="a weight file, or the name of one in a model folder (default: the shipped one for the scale)",
    )
    add_settings(group, SRCNNSettings)
    group = parser.add_argument_group("dps, edm-dps, guided, diffsr, dpi")
    group.add_argument(
        "--prior",
        help="weight file of a prior, or its name in a model folder (guided: an ADM upsampler; diffsr, dpi: face64 unless given)",
    )
    for kind in (PriorSettings, CanvasSettings):
        add_settings(group, kind, prefix="prior-")
    add_settings(parser.add_argument_group("dps"), DPSSettings, prefix="dps-")
    add_settings(parser.add_argument_group("edm-dps"), EDMDPSSettings, prefix="edm-")
    add_settings(parser.add_argument_group("diffsr"), DiffSRSettings, prefix="diffsr-")
    group = parser.add_argument_group("dpi")
    group.add_argument(
        "--corrector",
        default=choice.AUTO,
        help="auto: the shipped one of the scale; none; a weight file, or its name in a model folder (default auto)",
    )
    group.add_argument(
        "--preset",
        choices=(choice.AUTO, *STRENGTHS),
        default=choice.AUTO,
        help=f"how strong the conditions are; auto: as the scale asks, in {choice.AUTO_STEPS} steps (default auto)",
    )
    group.add_argument(
        "--dpi-steps",
        type=int,
        default=0,
        help="network calls for each picture; 0: as the preset says (default 0)",
    )
    add_settings(group, DPISettings, prefix="dpi-", but=("respacing",), preset=True)
    group = parser.add_argument_group("guided")
    group.add_argument(
        "--classifier",
        nargs="+",
        default=[],
        metavar="FILE",
        help="the weight file of a noise-aware classifier, without which the method runs alone (guided: ADM; srdg: attribute classifiers, one each)",
    )
    group.add_argument(
        "--label", type=int, default=-1, help="the class of the picture, 0 to 999 for ImageNet networks"
    )
    add_settings(group, GuidedSettings, prefix="guided-")
    srdg.add_options(parser)
    group = stablesr.add_options(parser)
    group.add_argument(
        "--pre-clean",
        choices=[name for name in UPSCALERS if name != "stablesr"],
        help="another method that first restores badly damaged pictures, at their own size (default none)",
    )


def _srcnn(options: argparse.Namespace, device: torch.device) -> AtScale:
    settings = read_settings(SRCNNSettings, options)

    def at(scale: float) -> Upscaler:
        network, native = load_srcnn(scale, options.weights)
        network = network.to(device)
        return lambda pixels: srcnn_upscale(network, pixels, scale, native, settings).cpu()

    return at


def _bicubic(options: argparse.Namespace, device: torch.device) -> AtScale:
    return lambda scale: (
        lambda pixels: resize(pixels, tuple(scaled_size(n, scale) for n in pixels.shape[-2:])).clamp(0, 1)
    )


def _posterior(
    kind: type, prefix: str, wanted: str, options: argparse.Namespace, device: torch.device
) -> AtScale:
    if not options.prior:
        raise ValueError(wanted)
    settings, canvas = read_settings(kind, options, prefix), read_settings(CanvasSettings, options, "prior-")
    prior = load_prior(options.prior, read_settings(PriorSettings, options, "prior-"))
    prior.network.to(device)
    upscale = partial(posterior_upscale, prior, settings=settings, canvas=canvas)
    return _stepwise(upscale, steps_of(prior, settings), options.seed, device)


def _guided(options: argparse.Namespace, device: torch.device) -> AtScale:
    if not options.prior:
        raise ValueError("guided needs --prior FILE, an ADM upsampler such as 64_256_upsampler.pt")
    settings, canvas = (
        read_settings(GuidedSettings, options, "guided-"),
        read_settings(CanvasSettings, options, "prior-"),
    )
    prior = load_prior(options.prior, read_settings(PriorSettings, options, "prior-"))
    if len(options.classifier) > 1:
        raise ValueError(f"guided takes one classifier, not {len(options.classifier)}: leave out the others")
    classifier = load_classifier(*options.classifier).to(device) if options.classifier else None
    check_guided(prior, classifier, options.label)
    prior.network.to(device)
    upscale = partial(
        guided_upscale, prior, classifier, label=options.label, settings=settings, canvas=canvas
    )
    return _stepwise(upscale, guided_steps(prior, settings), options.seed, device)


def _diffsr(options: argparse.Namespace, device: torch.device) -> AtScale:
    settings, canvas = (
        read_settings(DiffSRSettings, options, "diffsr-"),
        read_settings(CanvasSettings, options, "prior-"),
    )
    prior = load_prior(options.prior or SHIPPED_PRIOR, read_settings(PriorSettings, options, "prior-"))
    prior.network.to(device)
    report = lambda i, text: log.info("%s", text)  # noqa: E731
    upscale = partial(diffsr_upscale, prior, settings=settings, canvas=canvas, report=report)
    return _stepwise(upscale, settings.steps, options.seed, device)


def _dpi(options: argparse.Namespace, device: torch.device) -> AtScale:
    canvas = read_settings(CanvasSettings, options, "prior-")
    prior = load_prior(options.prior or SHIPPED_PRIOR, read_settings(PriorSettings, options, "prior-"))
    prior.network.to(device)

    def at(scale: float) -> Upscaler:
        warned: list[str] = []
        settings = choice.choose_settings(
            options.preset, scale, options.dpi_steps, **given_settings(DPISettings, options, "dpi-")
        )
        corrector = choice.choose_corrector(
            options.corrector, prior.channels, scale, settings.k, options.preset == choice.REAL, log.info
        )
        if corrector:
            corrector.check(prior.channels, settings.k, scale)
            corrector.network.to(device)

        def upscale(low: Tensor, **more) -> Tensor:
            if not warned and (warning := misfit(prior, tuple(low.shape[-2:]), scale)):
                log.warning("%s", warning)
                warned.append(warning)
            for text in filter(None, untypical(prior, low, scale)):
                log.warning("%s", text)
            return dpi_upscale(prior, corrector, low, settings=settings, canvas=canvas, **more)

        return _stepwise(upscale, len(levels_of(prior, settings)) - 1, options.seed, device)(scale)

    return at


def _srdg(options: argparse.Namespace, device: torch.device) -> AtScale:
    chosen, canvas = srdg.choose(options, device), read_settings(CanvasSettings, options, "prior-")
    upscale = partial(
        srdg_upscale, chosen.prior, wanted=chosen.wanted, settings=chosen.settings, canvas=canvas
    )
    return _stepwise(upscale, chosen.settings.steps, options.seed, device)


def _stablesr(options: argparse.Namespace, device: torch.device) -> AtScale:
    clean = options.pre_clean and UPSCALERS[options.pre_clean](options, device)(CLEANED)
    upscale, steps = stablesr.enlarger(options, device)
    if clean:
        upscale = partial(upscale, clean=lambda pixels: clean(pixels.cpu()).to(pixels))
    return _stepwise(upscale, steps, options.seed, device)


def _stepwise(upscale: Callable[..., Tensor], steps: int, seed: int, device: torch.device) -> AtScale:
    """Upscalers that show their steps; each picture has the seed."""

    def work(scale: float, pixels: Tensor) -> Tensor:
        with tqdm(total=steps, unit="step", leave=False, disable=None) as bar:
            low, seeds = pixels.to(device), [seed] * len(pixels)
            return upscale(low=low, scale=scale, seeds=seeds, on_step=lambda step, x: bar.update()).cpu()

    return lambda scale: partial(work, scale)


UPSCALERS = {
    "srcnn": _srcnn,
    "bicubic": _bicubic,
    "dps": partial(_posterior, DPSSettings, "dps-", "dps needs --prior FILE, an ADM one"),
    "edm-dps": partial(_posterior, EDMDPSSettings, "edm-", "edm-dps needs --prior FILE, an EDM one"),
    "guided": _guided,
    "diffsr": _diffsr,
    "dpi": _dpi,
    "srdg": _srdg,
    "stablesr": _stablesr,
}
