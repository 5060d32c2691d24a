"""What `priorsr train WHAT` does for each network; their options are those of the settings they use."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import weights
from ..train import classifier, cleaner, edm, prior, sr_sde, srcnn
from ..train.codeformer import task as codeformer
from ..train.corrector import task as corrector
from ..train.corrector.recipe import CorrectorRecipe
from ..train.datasets import Make, read_named, read_pictures, read_table
from ..train.loop import Optimisation, Task, fit, headlines, leads, read_checkpoint
from ..train.pairs import Crops
from ..train.stablesr import cfw
from ..train.stablesr import task as stablesr
from ..visionrefine.srcnn import SCALES
from .options import add_settings, read_settings

log = logging.getLogger("priorsr")


@dataclass(frozen=True)
class Trainer:
    """`make` reads the pictures and gives the task and, for the trained network, what its file says of
    itself.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    make: Callable[[argparse.Namespace, Optimisation], tuple[Task, Callable[[Any], dict]]]
    tuned: Optimisation
    half: bool = False  # weights are written in half precision
    # the files of the trained network, from what it says of itself and OUT
    files: Callable[[Any, dict, Path], Iterable[tuple[Path, nn.Module, dict]]] = lambda network, said, out: [
        (out, network, said)
    ]


class OldInit(argparse.Action):
    """The spelling of --init before every training had it."""

    def __call__(self, parser, namespace, values, option_string=None):
        log.warning("%s is now --init", option_string)
        setattr(namespace, self.dest, values)


def add_trainers(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(dest="what", required=True, metavar="NETWORK")
    for trainer in TRAINERS:
        sub = subparsers.add_parser(trainer.name, help=trainer.help, description=trainer.help)
        sub.add_argument(
            "--data",
            nargs="+",
            required=True,
            metavar="PATH",
            help="folders or zip archives of training pictures",
        )
        sub.add_argument(
            "--validation",
            nargs="+",
            required=True,
            metavar="PATH",
            help="folders or archives of pictures to judge by, not trained on",
        )
        sub.add_argument("--out", required=True, help="the weight file to write, .safetensors")
        sub.add_argument(
            "--run",
            help="folder for the log, pictures and the checkpoint (default: OUT without suffix, plus -run)",
        )
        going = sub.add_mutually_exclusive_group()
        going.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
        going.add_argument(
            "--export",
            action="store_true",
            help="write OUT from the averaged weights of the run folder's checkpoint as it is, without "
            "training on; "
            "the training may be running",
        )
        sub.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
        sub.add_argument(
            "--device",
            default="auto",
            help="auto, cpu, cuda or cuda:N; under torchrun each process takes its own (default auto)",
        )
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        trainer.arguments(sub)
        if "--start" not in sub._option_string_actions:  # codeformer's is another thing
            sub.add_argument("--start", action=OldInit, dest="init", help=argparse.SUPPRESS)
        add_settings(sub.add_argument_group("optimisation"), Optimisation, trainer.tuned)
        sub.set_defaults(trainer=trainer)


def train(options: argparse.Namespace, device: torch.device) -> dict:
    """Train, write the weights, and return the file's name with the validation figures; nothing where another
    process writes.
    """
    trainer, out = options.trainer, Path(options.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"{out} must end in .safetensors")
    _free(options, out)
    settings = read_settings(Optimisation, options)
    options.device = str(device)  # what `auto` stands for
    run = Path(options.run) if options.run else out.with_name(out.stem + "-run")
    if options.export:
        settings = replace(settings, steps=_steps_done(run))
    task, describe = trainer.make(options, settings)
    if options.export:
        task.identity.pop("images", None)  # none is drawn any more: --data may name the validation's again
    network = fit(task, settings, run, options.resume or options.export, str(device))
    if not leads():
        return {}
    figures = task.validate(network)
    said, written = {**describe(network), **{k: f"{v:.6g}" for k, v in figures.items()}}, []
    for path, part, own in trainer.files(network, said, out):
        written.append(str(weights.save(part, path, own, torch.float16 if trainer.half else None)))
    log.info(
        "wrote %s (validation %s)",
        ", ".join(written),
        ", ".join(f"{k} {v:.4g}" for k, v in headlines(figures).items()),
    )
    return {"weights": written[0] if len(written) == 1 else written, **figures}


def _steps_done(run: Path) -> int:
    """Raises FileNotFoundError or ValueError where no training has left a checkpoint."""
    if not (run / "checkpoint.pt").exists():
        raise FileNotFoundError(
            f"{run} holds no checkpoint to export: name the folder of a training with --run"
        )
    return read_checkpoint(run / "checkpoint.pt")["step"]


def _free(options: argparse.Namespace, *paths: Path) -> None:
    """Raises FileExistsError for a file that would be replaced unasked."""
    for path in paths:
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path} exists: choose another name or add --overwrite")


def _pictures(options: argparse.Namespace, make: Make | None = None) -> tuple[list, list]:
    images, validation = (read_pictures(paths, make) for paths in (options.data, options.validation))
    log.info("%d training pictures, %d to judge by", len(images), len(validation))
    return images, validation


def _squares(options: argparse.Namespace, size: int, channels: int) -> tuple[Tensor, Tensor]:
    """Training and validation pictures, uint8 N channels size size."""
    images, validation = _pictures(options, lambda picture: prior.square(picture, size, channels))
    return torch.stack(images), torch.stack(validation)


def _srcnn_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scale", type=int, default=2, choices=SCALES, help="the scale to train for (default 2)"
    )
    add_settings(parser, srcnn.Patches)


def _srcnn(options: argparse.Namespace, settings: Optimisation):
    images, validation = _pictures(options)
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
            images, validation = _squares(options, recipe.size, recipe.colours)
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
    images, validation = _squares(options, recipe.size, recipe.config().in_channels)
    return corrector.task(recipe, images, validation, settings.seed), lambda network: corrector.metadata(
        recipe, settings
    )


def _classifier_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        nargs="+",
        required=True,
        metavar="CSV",
        help="tables with a column `file`, the names of pictures, and columns of labels",
    )
    add_settings(parser, classifier.ClassifierRecipe)


def _classifier(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(classifier.ClassifierRecipe, options)
    attributes = classifier.Attribute.parse(
        recipe.attributes
    )  # all of this complains before the pictures are read
    classifier.build(recipe)
    _free(options, *classifier.paths(Path(options.out), [a.name for a in attributes]))
    table = read_table(options.labels)
    data, validation = (
        classifier.Labelled.of(read_named(paths, recipe.prepared), table, recipe)
        for paths in (options.data, options.validation)
    )
    log.info("%d labelled training pictures, %d to judge by", len(data.images), len(validation.images))
    return classifier.task(recipe, data, validation, settings.seed), lambda network: classifier.metadata(
        recipe, settings
    )


def _codeformer(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(codeformer.CodeFormerRecipe, options)
    codeformer.check(recipe, settings)
    network = codeformer.build(recipe, settings.seed)  # both complain before the pictures are read
    images, validation = _squares(options, network.config.image_size, 3)
    return codeformer.task(recipe, network, images, validation), lambda net: codeformer.metadata(
        net, recipe, settings
    )


def _sr_sde(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(sr_sde.SRRecipe, options)
    network = sr_sde.build(recipe, settings.seed)  # complains before the pictures are read
    images, validation = _squares(options, recipe.size, recipe.colours)
    return sr_sde.task(recipe, network, images, validation), lambda net: sr_sde.metadata(
        net, recipe, settings
    )


def _stablesr(options: argparse.Namespace, settings: Optimisation):
    recipe = read_settings(stablesr.StableSRRecipe, options)
    model, context = stablesr.build(recipe, settings.seed)
    data, validation = (recipe.drawn_from(paths) for paths in (options.data, options.validation))
    return stablesr.task(recipe, model, context, data, validation), lambda network: stablesr.metadata(
        recipe, settings
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
        _classifier_arguments,
        _classifier,
        classifier.TUNED,
        files=classifier.files,
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
