"""What each `priorsr` command does; their options are those of the settings they use."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import torch

from ..degrade import PRESETS, Recipe, preset
from ..imaging.alpha import upscale_with_alpha
from ..imaging.files import is_sidecar
from ..imaging.images import Picture, read, replacing
from ..imaging.resize import check_scale, scale_for
from ..metrics.compare import compare
from ..priors.load import PriorSettings, load_prior
from ..visionrefine.srcnn import SCALES
from ..weights import load as weights
from .folder import Job, check_output, picture_seed, plan
from .main import add_files, add_settings, log, read_settings, run_files
from .upscalers import UPSCALERS, add_upscalers


@dataclass(frozen=True)
class Command:
    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    json: bool = True  # whether --json is added here


def compute_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA device: use --device cpu")
    return torch.device(name)


def _upscale_arguments(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    parser.add_argument(
        "--method", choices=tuple(UPSCALERS), default="srcnn", help="how to upscale (default srcnn)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--scale",
        type=float,
        default=2.0,
        help="enlargement, 1 to 64; srcnn is trained for 2, 3 and 4 (default 2)",
    )
    size.add_argument(
        "--longest",
        type=int,
        metavar="PIXELS",
        help="in place of --scale: how long the longer side of each result will be",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument("--seed", type=int, default=0, help="of the methods that draw noise (default 0)")
    add_upscalers(parser)


def _upscale(options: argparse.Namespace) -> int:
    device = compute_device(options.device)
    if options.longest is None:
        check_scale(options.scale)
    elif options.longest < 1:
        raise ValueError(f"--longest {options.longest} leaves no picture: give the pixels of the longer side")
    upscaler = lru_cache(1)(UPSCALERS[options.method](options, device))
    if options.longest is None:
        upscaler(options.scale)  # complains before the first picture is read

    @torch.no_grad()
    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        scale = (
            options.scale
            if options.longest is None
            else scale_for(options.longest, tuple(picture.pixels.shape[-2:]))
        )
        pixels, alpha = upscale_with_alpha(picture.pixels, picture.alpha, upscaler(scale))
        size = tuple(pixels.shape[-2:])
        return replace(picture, pixels=pixels, alpha=alpha), {"size": [size[1], size[0]]}

    return run_files(options, work)


def _degrade_arguments(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--preset", choices=tuple(PRESETS), default="bicubic", help="the degradation (default bicubic)"
    )
    group.add_argument("--recipe", help="a recipe saved as JSON, to draw from or to replay")
    parser.add_argument(
        "--scale", type=float, default=4.0, help="reduction of bicubic, srdg and real-world (default 4)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same picture and seed give the same result (default 0)"
    )
    parser.add_argument(
        "--vary", action="store_true", help="in a folder, derive each picture's seed from --seed and its name"
    )
    parser.add_argument(
        "--save-recipe", help="write what was drawn as JSON (single pictures; a folder's is in --json)"
    )


def _degrade(options: argparse.Namespace) -> int:
    recipe = (
        Recipe.from_json(Path(options.recipe).read_text(encoding="utf-8"))
        if options.recipe
        else preset(options.preset, options.scale)
    )
    if options.save_recipe and not Path(options.source).is_file():
        raise ValueError("--save-recipe is for a single picture: a folder's recipes are printed with --json")
    if options.save_recipe:
        (job,) = plan(options.source, options.target, f".{options.format}" if options.format else None)
        others = [job.source, job.target, *([options.recipe] if options.recipe else [])]
        check_output(options.save_recipe, others, options.overwrite)

    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        # a name keeps its seed when the folder around it changes, a place in the list would not
        seed = picture_seed(options.seed, job.source.name) if options.vary else options.seed
        drawn = recipe.draw(seed)
        pixels, alpha = upscale_with_alpha(
            picture.pixels, picture.alpha, lambda x: drawn(x[0])[None].clamp(0, 1)
        )
        if options.save_recipe:
            with replacing(Path(options.save_recipe), options.overwrite) as partial:
                partial.write_text(drawn.to_json(), encoding="utf-8")
        return replace(picture, pixels=pixels, alpha=alpha), {
            "seed": seed,
            "recipe": json.loads(drawn.to_json()),
        }

    return run_files(options, work)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="the picture, or folder of pictures, to judge")
    parser.add_argument("b", help="the reference with the same size (in a folder: the same name)")
    parser.add_argument(
        "--channels", choices=("rgb", "luma"), default="rgb", help="what is compared (default rgb)"
    )
    parser.add_argument("--border", type=int, default=0, help="pixels cut from each side first (default 0)")


def _compare(options: argparse.Namespace) -> int:
    a, b = Path(options.a), Path(options.b)
    if a.is_dir() != b.is_dir():
        raise ValueError("compare takes two pictures or two folders, not one of each")
    names = sorted(p.name for p in a.iterdir() if p.is_file() and not is_sidecar(p)) if a.is_dir() else [None]
    rows, failed = [], 0
    for name in names:
        one, other = (a / name, b / name) if name else (a, b)
        try:
            figures = compare(read(one).pixels, read(other).pixels, options.channels, options.border)[0]
        except (ValueError, OSError) as error:
            log.error("failed: %s against %s: %s", one, other, error)
            failed += 1
            continue
        rows.append({"file": str(one), **figures})
    if not rows:
        raise ValueError("nothing could be compared")
    if len(rows) > 1:
        columns = {k: [r[k] for r in rows if r[k] is not None] for k in rows[0] if k != "file"}
        rows.append(
            {
                "file": "mean",
                **{k: statistics.fmean(values) if values else None for k, values in columns.items()},
            }
        )
    _print(rows, options.json)
    return 1 if failed else 0


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate import add_studies

    add_studies(parser)


def _evaluate(options: argparse.Namespace) -> int:
    rows = options.study.run(options, compute_device(options.device))
    _print(rows, options.json)
    return 0


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="IN", help="the weight file of a prior, or its name in a model folder"
    )
    parser.add_argument("out", metavar="OUT", help="the file to write, .safetensors")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH",
        help="folders or archives of pictures such as the prior's, not trained on",
    )
    parser.add_argument("--count", type=int, default=128, help="how many of them are used (default 128)")
    parser.add_argument(
        "--swept", type=int, default=32, help="how many of these the noise levels are tried on (default 32)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    add_settings(parser, PriorSettings)


def _calibrate(options: argparse.Namespace) -> int:
    from ..evaluate.calibrate import calibrate, store
    from ..train.datasets import read_pictures
    from ..train.prior import squares

    source, target = weights.locate(options.source), Path(options.out)
    check_output(target, [], options.overwrite)  # IN itself may be what is overwritten
    settings, device = read_settings(PriorSettings, options), compute_device(options.device)
    prior = load_prior(str(source), settings)
    prior.network.to(device)
    pictures = squares(read_pictures(options.data)[: options.count], prior.size, prior.channels)
    measured = calibrate(prior, (pictures.float() / 127.5 - 1).to(device), options.swept, on_step=log.info)
    store(source, target, prior, measured, settings)
    _print(
        [
            {
                "file": str(target),
                **{k: getattr(measured, k) for k in ("max_signature", "max_fidelity", "faithful")},
            }
        ],
        options.json,
    )
    return 0


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from .train import add_trainers

    add_trainers(parser)


def _train(options: argparse.Namespace) -> int:
    from .train import train

    result = train(options, compute_device(options.device))
    if options.json and result:
        print(json.dumps(result))
    return 0


def _models(options: argparse.Namespace) -> int:
    rows = []
    for path in weights.installed():
        try:
            found = weights.load(path)
            state, kind, scale = "ready", found.kind, found.scale or ""
        except (ValueError, OSError) as error:
            state, kind, scale = str(error), "", ""
        rows.append({"name": path.stem, "kind": kind, "scale": scale, "state": state, "path": str(path)})
    names = {r["name"] for r in rows if r["state"] == "ready"}
    for missing in (f"srcnn_x{s}" for s in SCALES if f"srcnn_x{s}" not in names):
        row = {
            "name": missing,
            "kind": "srcnn",
            "scale": missing[-1],
            "state": "missing: reinstall PriorSR, or train it",
        }
        rows.append({**row, "path": str(weights.SHIPPED)})
    _print(rows, options.json)
    return 0


def _print(rows: list[dict], as_json: bool) -> None:
    if as_json:
        # JSON has no infinity, which is the PSNR of equal pictures
        print(
            json.dumps(
                [
                    {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in r.items()}
                    for r in rows
                ]
            )
        )
        return
    shown = [{k: v for k, v in r.items() if not isinstance(v, list)} for r in rows]  # lists are for programs
    for keys, alike in groupby(shown, key=list):  # a table for each kind of rows
        table = [keys] + [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in r.values()] for r in alike]
        widths = [max(len(row[i]) for row in table) for i in range(len(keys))]
        for row in table:
            sys.stdout.write(
                "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() + "\n"
            )


COMMANDS = (
    Command("upscale", "Enlarge pictures.", _upscale_arguments, _upscale),
    Command(
        "degrade", "Degrade pictures, repeatably, for training and testing.", _degrade_arguments, _degrade
    ),
    Command(
        "compare",
        "Measure PSNR, SSIM and mean absolute error between pictures.",
        _compare_arguments,
        _compare,
    ),
    Command(
        "evaluate",
        "Measure methods on pictures whose truth is known.",
        _evaluate_arguments,
        _evaluate,
        json=False,
    ),
    Command(
        "calibrate",
        "Measure a prior's errors and its recoverable field, which Diff-SR needs.",
        _calibrate_arguments,
        _calibrate,
    ),
    Command("train", "Train a network of this package.", _train_arguments, _train, json=False),
    Command("models", "List the weight files found, and what is missing.", lambda parser: None, _models),
)
