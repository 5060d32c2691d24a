"""`priorsr evaluate srdg`: its options, and what the strength of attribute guidance does to given faces, as
table, plot and sheet in a folder.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from .. import weights
from ..dps.sampling import DPSSettings
from ..drawing import check_plots
from ..evaluate.srdg_plot import strength_plot
from ..evaluate.srdg_study import (
    HARM,
    SLACK,
    AttributeMetrics,
    Guided,
    LabelledFaces,
    by_dps,
    by_network,
    effects,
    readings,
    strengths,
)
from ..imaging.datasets import read_named, read_table
from ..imaging.resize import size_of
from ..metrics.faces import markdown
from ..priors.adm import ADMPrior
from ..priors.load import load_prior
from ..priors.ncsnpp import NCSNppPrior
from ..srdg.attributes import AttributeClassifier, load_attribute
from ..srdg.method import SRDGSettings, condition, load_sr_prior, network_name
from ..train.classifier import ClassifierRecipe, Labelled
from .options import add_settings, read_settings
from .studies import save

log = logging.getLogger("priorsr")

NONE = "none"
TRIED = (0.0, 10.0, 30.0, 100.0, 300.0)
QUICK = SRDGSettings(steps=25, sampler="renoise", first=0.6)
HELD = DPSSettings(respacing="20", guidance=12.0)  # fewer steps must be longer ones


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", nargs="+", metavar="PATH", help="folders or zip archives of true faces of the networks' size"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        required=True,
        metavar="CSV",
        help="tables with a column `file`, their names, and one of labels",
    )
    parser.add_argument(
        "--classifier",
        required=True,
        metavar="FILE",
        help="what guides: the weight file of an attribute classifier",
    )
    parser.add_argument(
        "--judge",
        required=True,
        metavar="FILE",
        help="what judges: another classifier of the same attribute, which guides nothing, such as one of "
        "`train classifier --net plain`",
    )
    parser.add_argument(
        "--attribute",
        default="",
        help="its column and values, as in train classifier (default: as the classifier was trained)",
    )
    parser.add_argument(
        "--prior", help="an NCSN++ super-resolution network, or none (default: the one that comes along)"
    )
    parser.add_argument(
        "--unconditional",
        default="face128",
        help="a prior for DPS with the same guidance, or none (default face128)",
    )
    parser.add_argument("--scales", nargs="+", type=int, default=[4, 8], help="default: 4 8")
    parser.add_argument(
        "--weights",
        nargs="+",
        type=float,
        default=TRIED,
        metavar="H",
        help=f"values of h (default {' '.join(f'{h:g}' for h in TRIED)})",
    )
    parser.add_argument(
        "--count", type=int, default=48, help="faces, the classes taking turns; 0 for all (default 48)"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where the table, its JSON and the pictures are written",
    )
    add_settings(parser.add_argument_group("srdg"), SRDGSettings, QUICK, prefix="srdg-", but=("h",))
    add_settings(parser.add_argument_group("dps"), DPSSettings, HELD, prefix="dps-")


def run(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """Raises ValueError before the first run."""
    check_plots()
    options.srdg_h = QUICK.h  # it is what is varied
    settings, measurement = (
        read_settings(SRDGSettings, options, "srdg-"),
        read_settings(DPSSettings, options, "dps-"),
    )
    values = sorted({0.0, *options.weights})
    for h in values:
        SRDGSettings(h=h)  # complains
    if len(values) < 2:
        raise ValueError("h 0 alone guides nothing: give values above it, such as 100")
    guide, judge = load_attribute(options.classifier), load_attribute(options.judge, judging=True)
    if (judge.attribute, judge.classes) != (guide.attribute, guide.classes):
        raise ValueError(
            f"{options.judge} tells {judge.attribute} ({judge.meaning}), not {guide.attribute} "
            f"({guide.meaning}): give another judge"
        )
    priors = _priors(options, guide)
    for network in (guide.network, judge.network, *(prior.network for prior in priors)):
        network.to(device)
    data = labelled(options, guide, priors[0].channels)
    subjects, out = LabelledFaces.of(data, guide, options.count), Path(options.out)
    jury = AttributeMetrics(
        LabelledFaces(subjects.truth.to(device), subjects.labels, subjects.classes), judge
    )
    told = readings({"guides": guide, "judges": judge}, data, options.scales)
    rows, sheets = [], []
    for scale in options.scales:
        low = condition(jury.subjects.truth, scale)
        methods = dict(_method(prior, guide, scale, settings, measurement) for prior in priors)
        found, sheet = strengths(jury, low, methods, values, {"scale": scale}, log.info)
        rows, sheets = [*rows, *found], [*sheets, sheet]
    seen = effects(rows, ("scale", "method", "asked"))
    out.mkdir(parents=True, exist_ok=True)
    save(
        out,
        "srdg",
        _text(rows, seen, told, subjects),
        {"rows": rows, "effects": seen, "readings": told},
        torch.cat(sheets, 2),
    )
    strength_plot(rows, seen, out / "strength.png")
    log.info("wrote %s", out)
    return rows


def labelled(options: argparse.Namespace, classifier: AttributeClassifier, channels: int) -> Labelled:
    """The faces whose label the tables know, as the networks take them. Raises ValueError."""
    side, table = classifier.network.config.image_size, read_table(options.labels)
    spec = options.attribute or str(_trained(options.classifier).get("attributes", ""))
    recipe = ClassifierRecipe(
        ";".join(
            a
            for a in spec.split(";")
            if a.partition("=")[0].partition(":")[0].strip() == classifier.attribute
        ),
        side,
    )
    if not recipe.attributes:
        raise ValueError(
            f"which column tells {classifier.attribute} is not known: give --attribute "
            f"{classifier.attribute}:COLUMN=CLASS:VALUE,..."
        )
    pictures = read_named(options.data)
    for name, picture in pictures:
        if size_of(picture) != (side, side):
            raise ValueError(
                f"{name} of {picture.shape[-1]}x{picture.shape[-2]} is not of the networks' {side} pixels: "
                "give faces of that size"
            )
    return Labelled.of(pictures, table, replace(recipe, channels="luma" if channels == 1 else "rgb"))


def _trained(classifier: str) -> dict:
    """How the file says that it was trained."""
    return weights.load(weights.locate(classifier)).json("training")


def _priors(options: argparse.Namespace, classifier: AttributeClassifier) -> list[NCSNppPrior | ADMPrior]:
    """What is guided. Raises ValueError unless all of it is for the same pictures."""
    found: list[NCSNppPrior | ADMPrior] = []
    if options.prior != NONE:
        found.append(load_sr_prior(network_name(options.prior)))
    if options.unconditional != NONE:
        unconditional = load_prior(options.unconditional)
        if not isinstance(unconditional, ADMPrior):
            raise ValueError(
                f"{options.unconditional} is no ADM prior, which DPS is for: give another one, or none"
            )
        found.append(unconditional)
    if not found:
        raise ValueError("there is nothing to guide: give --prior or --unconditional")
    kinds = {(prior.size, prior.channels) for prior in found}
    side = classifier.network.config.image_size
    if len(kinds) > 1 or {side} != {size for size, _ in kinds}:
        told = ", ".join(f"{size} pixels and {channels} channels" for size, channels in sorted(kinds))
        raise ValueError(
            f"the priors are for {told}, the classifier for {side} pixels: give networks for the same "
            "pictures"
        )
    return found


def _method(
    prior: NCSNppPrior | ADMPrior,
    classifier: AttributeClassifier,
    scale: int,
    settings: SRDGSettings,
    measurement: DPSSettings,
) -> tuple[str, Guided]:
    if isinstance(prior, NCSNppPrior):
        return "srdg", by_network(prior, classifier, scale, settings)
    return "dps", by_dps(prior, classifier, scale, settings, measurement)


def _text(rows: list[dict], seen: list[dict], told: list[dict], subjects: LabelledFaces) -> str:
    """The tables, and what their words mean."""
    counts = ", ".join(f"{subjects.labels.count(k)} {name}" for k, name in enumerate(subjects.classes))
    opinions = (
        "scale",
        "method",
        "asked",
        "h",
        "probability",
        *(f"asked {name}" for name in subjects.classes),
        "agreed",
    )
    return f"""{counts}. `probability`, `asked ...` and `agreed`: of the label asked for, by a classifier that
guides nothing.

{markdown(rows, opinions)}
`rising`: the probability never falls by more than {SLACK:g} as h grows. `harm`: the first h with PSNR
more than {HARM["psnr"]:g} dB below that of h 0, or a mean distance to the person more than
{-HARM["identity"]:g} above it.

{markdown(seen, tuple(seen[0]))}
Balanced accuracy against the time of the noise:

{markdown(told, tuple(told[0]))}"""
