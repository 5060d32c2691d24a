"""Every network that `priorsr train WHAT` trains: its options, its pictures, and what its file says of
itself.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..imaging.datasets import read_named, read_table
from ..train import classifier, cleaner, edm, noise_classifier, prior, sr_sde, srcnn, upsampler
from ..train.codeformer import task as codeformer
from ..train.corrector import task as corrector
from ..train.corrector.recipe import CorrectorRecipe
from ..train.labels import Labelled
from ..train.loop import Optimisation
from ..train.pairs import Crops
from ..train.stablesr import cfw
from ..train.stablesr import task as stablesr
from ..visionrefine.srcnn import SCALES
from .options import add_settings, read_settings
from .trainer import Trainer, free, pictures, squares

log = logging.getLogger("priorsr")


def _srcnn_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scale", type=int, default=2, choices=SCALES, help="the scale to train for (default 2)"
    )
    add_settings(parser, srcnn.Patches)


def _srcnn(options: argparse.Namespace, settings: Optimisation):
    images, validation = pictures(options)
    patches = read_settings(srcnn.Patches, options)
    task = srcnn.task(options.scale, images, validation, patches, settings.seed)
    said = {"kind": "srcnn", "scale": options.scale, "kernels": patches.kernels, "channels": patches.channels}
    return task, lambda network: {**said, **asdict(settings)}


def _prior_of(kind: Any, module: Any):
    """The trainer of an unconditional prior: `kind` of recipe, and the module that trains it."""

    def make(options: argparse.Namespace, settings: Optimisation):
        recipe = read_settings(kind, options)
        scales = prior.scales_of(recipe.crops)
        network = module.build(recipe, settings.seed)  # both complain before the pictures are read
        if scales:
            images, validation = (
                Crops.of(paths, recipe.size, recipe.flip, scales)
                for paths in (options.data, options.validation)
            )
            log.info("crops of %d training pictures, %d to judge by", len(images), len(validation))
            validation = prior.coloured(validation.judged(prior.JUDGED), recipe.colours)
        else:
            images, validation = squares(options, recipe.size, recipe.colours)
        task = module.task(recipe, images, validation, settings.seed, network)
        return task, lambda net: module.metadata(net, recipe, settings, validation)

    return make


def _cleaner(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(cleaner.CleanerRecipe, options)
    network = cleaner.build(recipe, settings.seed)  # complains before the pictures are read
    scales = prior.scales_of(recipe.crops) or (1.0,)
    data, validation = (
        Crops.of(paths, recipe.size, scales=scales) for paths in (options.data, options.validation)
    )
    return cleaner.task(recipe, network, data, validation), lambda net: cleaner.metadata(
        net, recipe, settings
    )


def _corrector(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(CorrectorRecipe, options)
    corrector.check(recipe, settings)  # complains before the pictures are read
    images, validation = squares(options, recipe.size, recipe.config().in_channels)
    return corrector.task(recipe, images, validation, settings.seed), lambda network: corrector.metadata(
        recipe, settings
    )


def _labelled_arguments(kind: type, required: bool = True) -> Callable[[argparse.ArgumentParser], None]:
    """The options of a recipe whose pictures have labels."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--labels",
            nargs="+",
            required=required,
            metavar="CSV",
            help="tables with a column `file`, the names of pictures, and columns of labels",
        )
        add_settings(parser, kind)

    return add


def _labelled(options: argparse.Namespace, recipe: Any) -> tuple[Labelled, Labelled]:
    """Training and validation pictures of a recipe with their labels, as squares."""
    table = read_table(options.labels)
    make = partial(prior.square, size=recipe.size, channels=recipe.colours)
    data, validation = (
        Labelled.of(read_named(paths, make), table, recipe) for paths in (options.data, options.validation)
    )
    log.info("%d labelled training pictures, %d to judge by", len(data.images), len(validation.images))
    return data, validation


def _noise_classifier(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(noise_classifier.NoiseClassifierRecipe, options)
    network = noise_classifier.build(recipe, settings.seed)  # complains before the pictures are read
    task = noise_classifier.task(recipe, network, *_labelled(options, recipe))
    return task, lambda net: noise_classifier.metadata(recipe, settings)


def _upsampler(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(upsampler.UpsamplerRecipe, options)
    if bool(recipe.attributes) != bool(options.labels):
        raise ValueError(
            "an upsampler that is told classes needs both --attributes and --labels, else neither"
        )
    network = upsampler.build(recipe, settings.seed)  # both complain before the pictures are read
    if recipe.attributes:
        data, validation = _labelled(options, recipe)
    else:
        data, validation = (Labelled(x, {}) for x in squares(options, recipe.size, recipe.colours))
    task = upsampler.task(recipe, network, data, validation)
    return task, lambda net: upsampler.metadata(recipe, settings)


def _classifier(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(classifier.ClassifierRecipe, options)
    attributes = classifier.Attribute.parse(
        recipe.attributes
    )  # all of this complains before the pictures are read
    classifier.build(recipe)
    free(options, *classifier.paths(Path(options.out), [a.name for a in attributes]))
    data, validation = _labelled(options, recipe)
    return classifier.task(recipe, data, validation, settings.seed), lambda network: classifier.metadata(
        recipe, settings
    )


def _codeformer(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(codeformer.CodeFormerRecipe, options)
    codeformer.check(recipe, settings)
    network = codeformer.build(recipe, settings.seed)  # both complain before the pictures are read
    images, validation = squares(options, network.config.image_size, 3)
    return codeformer.task(recipe, network, images, validation), lambda net: codeformer.metadata(
        net, recipe, settings
    )


def _sr_sde(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(sr_sde.SRRecipe, options)
    network = sr_sde.build(recipe, settings.seed)  # complains before the pictures are read
    images, validation = squares(options, recipe.size, recipe.colours)
    return sr_sde.task(recipe, network, images, validation), lambda net: sr_sde.metadata(
        net, recipe, settings
    )


def _stablesr(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(stablesr.StableSRRecipe, options)
    model, context = stablesr.build(recipe, settings.seed)
    data, validation = (recipe.drawn_from(paths) for paths in (options.data, options.validation))
    return stablesr.task(recipe, model, context, data, validation), lambda network: stablesr.metadata(
        recipe, settings, network
    )


def _cfw(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(cfw.CFWRecipe, options)
    networks = cfw.build(recipe, settings.seed)  # complains before latents are sampled
    latents = cfw.synthesise(recipe, settings, options.data, options.validation, options.device)
    return cfw.task(recipe, *networks, *latents), lambda network: cfw.metadata(recipe, settings)


TRAINERS = (
    Trainer("srcnn", "Train SRCNN for one scale.", _srcnn_arguments, _srcnn, srcnn.TUNED),
    Trainer(
        "prior",
        "Train an unconditional diffusion prior.",
        lambda p: add_settings(p, prior.PriorRecipe),
        _prior_of(prior.PriorRecipe, prior),
        prior.TUNED,
        half=True,
    ),
    # not in half precision, which would change the frequencies of NCSN++'s clock
    Trainer(
        "edm",
        "Train an unconditional EDM prior, DDPM++ or NCSN++, which EDM-DPS and any other method takes.",
        lambda p: add_settings(p, edm.EDMRecipe),
        _prior_of(edm.EDMRecipe, edm),
        edm.TUNED,
    ),
    Trainer(
        "cleaner",
        "Train the blind cleaner of noise, compression and blur.",
        lambda p: add_settings(p, cleaner.CleanerRecipe),
        _cleaner,
        cleaner.TUNED,
        half=True,
    ),
    Trainer(
        "corrector",
        "Train a corrector of DPI's conditions.",
        lambda p: add_settings(p, CorrectorRecipe),
        _corrector,
        corrector.TUNED,
        half=True,
    ),
    Trainer(
        "classifier",
        "Train noise-aware attribute classifiers, which guide SRDG and any prior.",
        _labelled_arguments(classifier.ClassifierRecipe),
        _classifier,
        classifier.TUNED,
        files=classifier.files,
    ),
    Trainer(
        "upsampler",
        "Train ADM's upsampler, a diffusion model that sees the small picture, for guided super-resolution.",
        _labelled_arguments(upsampler.UpsamplerRecipe, required=False),
        _upsampler,
        upsampler.TUNED,
        half=True,
    ),
    Trainer(
        "noise-classifier",
        "Train ADM's classifier of noisy pictures, which guides the upsampler towards a class.",
        _labelled_arguments(noise_classifier.NoiseClassifierRecipe),
        _noise_classifier,
        noise_classifier.TUNED,
    ),
    # in half precision the frequencies of its clock would be others than it was trained with
    Trainer(
        "codeformer",
        "Train CodeFormer, one stage after another.",
        lambda p: add_settings(p, codeformer.CodeFormerRecipe),
        _codeformer,
        codeformer.TUNED,
    ),
    Trainer(
        "sr-sde",
        "Train SRDG's score network.",
        lambda p: add_settings(p, sr_sde.SRRecipe),
        _sr_sde,
        sr_sde.TUNED,
    ),
    Trainer(
        "stablesr",
        "Train StableSR's layers on a Stable Diffusion that stays as it is.",
        lambda p: add_settings(p, stablesr.StableSRRecipe),
        _stablesr,
        stablesr.TUNED,
        files=stablesr.files,
    ),
    Trainer(
        "cfw",
        "Train StableSR's feature wrapping (CFW) on latents that are sampled first.",
        lambda p: add_settings(p, cfw.CFWRecipe),
        _cfw,
        cfw.TUNED,
        files=cfw.files,
    ),
)
