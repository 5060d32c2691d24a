"""`priorsr train WHAT`: its options, the run, and the file at its end."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from .. import weights
from ..train.checkpoint import read_checkpoint
from ..train.loop import Optimisation, fit, headlines, leads
from .options import add_settings, read_settings
from .trainer import free
from .trainers import TRAINERS

log = logging.getLogger("priorsr")


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
    free(options, out)
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
