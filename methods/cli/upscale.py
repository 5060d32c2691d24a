"""`priorsr upscale METHOD IN OUT`: a subcommand for every method, with only its own options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..imaging.alpha import upscale_with_alpha
from ..imaging.images import Picture, check_writable
from ..imaging.region import within
from ..imaging.resize import scale_for, size_of
from ..memory import free_bytes, parse_bytes
from ..method import Upscaler
from ..registry import method_named, methods
from .folder import Job
from .options import (
    Command,
    Parser,
    add_compile,
    add_device,
    add_files,
    add_memory,
    add_method,
    add_region,
    add_seed,
    log,
    plans_told,
    prepared,
    region_of,
    run_files,
    seed_of,
    varies,
)
from .pipeline import Batch
from .steps import shown
from .video import add_video, check_video, is_video, run_video


def _arguments(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(dest="method", required=True, metavar="METHOD", parser_class=Parser)
    for method in methods().values():
        sub = subparsers.add_parser(method.name, help=method.about, description=method.about)
        add_files(sub)
        scales = method.scales
        size = sub.add_mutually_exclusive_group()
        size.add_argument(
            "--scale",
            type=float,
            default=scales.default,
            help=f"enlargement, {scales.least:g} to {scales.most:g} (default {scales.default:g})",
        )
        size.add_argument(
            "--longest", type=int, metavar="PIXELS", help="in place of --scale: the longer side of results"
        )
        add_device(sub)
        add_memory(sub)
        add_compile(sub)
        add_seed(sub, "of what is invented")
        add_region(sub)
        add_video(sub)
        sub.add_argument(
            "--batch",
            type=_batch,
            default=1,
            metavar="N",
            help="how many pictures of one size a folder run works on at once (default 1)",
        )
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        add_method(sub, method)


def _batch(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"there is no batch of {text!r}: give a number of pictures from 1")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    method = method_named(options.method)
    video = is_video(options.source)
    if video:
        check_video(options)
    elif options.frames:
        raise ValueError(f"--frames is for videos, and {options.source} is none: leave it out")
    if options.longest is None:
        method.scales.check(options.scale, method.name)
    elif options.longest < 1:
        raise ValueError(f"--longest {options.longest} leaves no picture: give the pixels of the longer side")
    region = region_of(options)
    upscaler = prepared(method, options)
    if options.longest is None:
        upscaler.plan((64, 64), options.scale)  # complains before the first picture is read

    if varies(options) and upscaler.networks:
        log.info("every picture has a seed of its own, of --seed and its name; --no-vary gives all --seed")
    allowed = parse_bytes(options.memory) if options.memory else 0
    said: set[str] = set()
    tell = plans_told()

    @torch.no_grad()
    def works(pictures: Sequence[Picture], jobs: Sequence[Job]) -> list[tuple[Picture, dict]]:
        """Pictures of one size, those with transparency alone."""
        first, several = pictures[0], len(pictures) > 1
        low = torch.cat([one.pixels for one in pictures]) if several else first.pixels
        small = size_of(low)
        scale = options.scale if options.longest is None else scale_for(options.longest, small)
        seeds = [seed_of(options, job) for job in jobs]
        budget = (allowed or free_bytes(upscaler.device)) // len(pictures)
        notes = [*upscaler.fit(small, scale, budget)]
        plan = upscaler.predict(small, scale, len(pictures), measure=True)
        size = plan.size
        tell(plan)
        for one, job in zip(pictures, jobs, strict=True):
            check_writable(job.target, one.alpha is not None, size)  # before any step is taken
        pixels, alpha = upscale_with_alpha(
            low, first.alpha, within(region, lambda x: upscaled(upscaler, x, scale, seeds, notes))
        )
        for note in dict.fromkeys(notes):
            if note not in said:
                log.warning("%s", note)
        said.update(plan.warnings)  # of a folder, said once
        return [
            (
                replace(one, pixels=pixels[i : i + 1].clone() if several else pixels, alpha=alpha),
                {"size": [size[1], size[0]], "seed": seed, "notes": notes},
            )
            for i, (one, seed) in enumerate(zip(pictures, seeds, strict=True))
        ]

    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        return works([picture], [job])[0]

    def key(picture: Picture) -> tuple | None:
        return None if picture.alpha is not None else tuple(picture.pixels.shape)

    if video:
        return run_video(options, work)
    return run_files(options, work, Batch(options.batch, key, works) if options.batch > 1 else None)


def upscaled(upscaler: Upscaler, low: Tensor, scale: float, seeds: list[int], notes: list[str]) -> Tensor:
    """Pictures enlarged with a bar that shows network calls, on the CPU; notes hears what was chosen and
    warned of.
    """
    with shown("step") as show:
        return upscaler(low, scale, seeds, lambda done, of, x: show(done, of), notes.append).cpu()


COMMANDS = (Command("upscale", _arguments, _run, json=False),)
