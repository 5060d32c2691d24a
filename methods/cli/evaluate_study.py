"""`priorsr evaluate study` and `evaluate condition`: what the papers measured, on pictures of yours."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from ..evaluate.study import names, read_study
from ..evaluate.study_run import Given, run_study
from ..imaging.replacing import replacing
from ..judge.protocol import FACES
from ..judge.report import plot, tables
from .options import add_people

log = logging.getLogger("priorsr")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", help=f"one of {', '.join(names())}, or a TOML file of the same form"
    )
    parser.add_argument("data", metavar="TRUE", help="a folder or zip archive of true pictures")
    parser.add_argument(
        "--inputs", metavar="DIR", help="what they came to, of the same names (default: bicubic reductions)"
    )
    parser.add_argument(
        "--set",
        dest="given",
        nargs="+",
        default=[],
        metavar="NAME=VALUE,...",
        help="settings and weight files of its runs, METHOD.NAME for those of one method; of several values "
        "all are tried",
    )
    parser.add_argument("--scale", nargs="+", type=float, help="in place of the study's scales")
    parser.add_argument("--count", type=int, default=0, help="only the first so many pictures; 0: all")
    parser.add_argument(
        "--faces", choices=FACES, help="how aligned faces are framed (default: the protocol's)"
    )
    add_people(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where results, records, report.md and its plots are written; an interrupted run goes on there",
    )


def run(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """A row for every run and protocol. Raises ValueError, also at the end where a run was left out."""
    study = read_study(options.name)
    if options.scale:
        study = replace(study, scales=tuple(options.scale))
    study = study.changed(options.given)
    out = Path(options.out)
    given = Given(
        Path(options.data),
        Path(options.inputs) if options.inputs else None,
        tuple(map(Path, options.identities)),
        Path(options.gallery) if options.gallery else None,
        options.count,
        options.faces,
    )
    found = run_study(study, given, out, device, log.info)
    if found.records:
        text = f"# {study.name}\n\n{study.about}\n\n{tables(found.records)}"
        with replacing(out / "report.md", True) as partial:
            partial.write_text(text, encoding="utf-8")
        plot(found.records, out / "figures.png", True)
        if "spectra" in study.plots:
            from ..evaluate.spectra import spectra

            spectra(out, out / "spectra.png")
        log.info("wrote %s", out)
    if found.left_out:
        label, why = next(iter(found.left_out.items()))
        raise ValueError(
            f"{len(found.left_out)} of {len(study.named())} runs were left out, the rest is in {out}: "
            f"{label}: {why}"
        )
    return [
        {
            "scale": one.protocol["scale"],
            "protocol": one.protocol["name"],
            "run": one.label,
            **{name: round(figure.value, 4) for name, figure in one.figures.items()},
        }
        for one in found.records
    ]


def condition_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="+", metavar="PATH", help="folders or zip archives of true pictures")
    parser.add_argument(
        "--stablesr", required=True, metavar="FILE", help="a full StableSR file, or its layers"
    )
    parser.add_argument("--base", default="", metavar="FILE", help="Stable Diffusion 2.1, for layers alone")
    parser.add_argument("--context", default="", metavar="FILE", help="embeddings of the empty prompt")
    parser.add_argument("--scale", type=float, default=4.0, help="how much smaller inputs are (default 4)")
    parser.add_argument("--size", type=int, default=512, help="side of the centre that is used (default 512)")
    parser.add_argument("--levels", type=int, default=20, help="noise levels of the chain (default 20)")
    parser.add_argument("--count", type=int, default=8, help="pictures; 0 for all (default 8)")
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="where table, JSON and plot are written"
    )


def condition(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """A row for every noise level. Raises ValueError, FileNotFoundError."""
    from ..evaluate.condition import condition_plot, strengths
    from ..imaging.datasets import read_pictures
    from ..metrics.faces import markdown
    from ..stablesr.load import load_stablesr, load_text
    from ..stablesr.text import read_context, tokenise

    model = load_stablesr(options.stablesr, options.base)
    context = (
        read_context(options.context)
        if options.context
        else load_text(options.base or options.stablesr)(tokenise(""))
    )
    for network in (model.prior.network, model.layers.encoder, model.layers.sft, model.vae):
        network.to(device)
    pictures = read_pictures(options.data)
    pictures = pictures[: options.count] if options.count else pictures
    rows = strengths(model, context.to(device), pictures, options.scale, options.size, options.levels)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".md", markdown(rows, ("t", "snr"))), (".json", json.dumps(rows, indent=1))):
        with replacing(out / f"condition{suffix}", True) as partial:
            partial.write_text(text, encoding="utf-8")
    condition_plot(rows, out / "condition.png")
    log.info("wrote %s", out)
    return rows
