"""What each `priorsr` command does; their options are those of the settings they use."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from .. import weights
from ..degrade import PRESETS, Recipe, preset
from ..device import compute_device
from ..imaging.alpha import upscale_with_alpha
from ..imaging.files import is_sidecar
from ..imaging.images import Picture, read, replacing
from ..imaging.replacing import check_place
from ..metrics.compare import compare
from ..priors.load import PriorSettings, load_prior
from .folder import Job, check_output, picture_seed, plan
from .options import Command, add_files, add_settings, log, read_settings, run_files


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
    recipe = _read_recipe(Path(options.recipe)) if options.recipe else preset(options.preset, options.scale)
    if options.save_recipe and not Path(options.source).is_file():
        raise ValueError("--save-recipe is for a single picture: a folder's recipes are printed with --json")
    if options.save_recipe:
        (job,) = plan(options.source, options.destination, f".{options.format}" if options.format else None)
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


def _read_recipe(path: Path) -> Recipe:
    """Raises ValueError naming the file where it is no text or no recipe."""
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
    if out := getattr(options, "out", ""):
        given = [path for path in getattr(options, "data", []) if Path(path).resolve() == Path(out).resolve()]
        if given:
            raise ValueError(f"{out} holds the pictures that are judged: choose another folder for --out")
        if os.path.lexists(out) and not os.path.isdir(out):
            raise ValueError(f"{out} is no folder, which --out needs: choose another one")
        check_place(Path(out) / "table.json")  # before hours of work
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
    parser.add_argument(
        "--crops",
        default="",
        help="scales of crops, such as 1,0.75,0.5: pictures are reduced to one and cut at a random place, as "
        "`train prior --crops` does; without: the middle square of each",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    add_settings(parser, PriorSettings)


def _calibrate(options: argparse.Namespace) -> int:
    from ..evaluate.calibrate import calibrate, store
    from ..imaging.datasets import read_pictures
    from ..train.pairs import Crops
    from ..train.prior import coloured, scales_of, squares

    source, target = weights.locate(options.source), Path(options.out)
    check_output(target, [], options.overwrite)  # IN itself may be what is overwritten
    settings, device = read_settings(PriorSettings, options), compute_device(options.device)
    prior = load_prior(str(source), settings)
    prior.network.to(device)
    if scales := scales_of(options.crops):
        crops = Crops.of(options.data, prior.size, scales=scales)
        pictures = coloured(crops.judged(options.count), prior.channels)
    else:
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
    Command("degrade", _degrade_arguments, _degrade),
    Command("compare", _compare_arguments, _compare),
    Command("evaluate", _evaluate_arguments, _evaluate, json=False),
    Command("calibrate", _calibrate_arguments, _calibrate),
    Command("train", _train_arguments, _train, json=False),
)
