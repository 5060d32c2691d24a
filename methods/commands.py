"""What each `priorsr` command does; their options are those of the settings they use."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from . import weights
from .cli import add_files, add_settings, given_settings, log, read_settings, run_files
from .degrade import PRESETS, Recipe, preset
from .diffsr.method import DiffSRSettings, diffsr_upscale
from .dpi import choice
from .dpi.method import PRESETS as STRENGTHS
from .dpi.method import DPISettings, dpi_upscale, levels_of
from .dps import DPSSettings
from .evaluate.report import compare
from .folder import Job
from .images import Picture, read, replacing
from .posterior import CanvasSettings, posterior_upscale, steps_of
from .priors.load import PriorSettings, load_classifier, load_prior
from .priors.typical import misfit, untypical
from .resize import check_scale, resize, scale_for, scaled_size
from .srdg.attributes import load_attribute, parse_weights, parse_wishes, shipped_attributes, wishes
from .srdg.method import SRDGSettings, load_sr_prior, shipped_networks, srdg_upscale
from .visionrefine.edm_dps import EDMDPSSettings
from .visionrefine.guided import GuidedSettings, check_guided, guided_upscale
from .visionrefine.guided import steps_of as guided_steps
from .visionrefine.srcnn import SCALES, SRCNNSettings, load_srcnn, srcnn_upscale

SHIPPED_PRIOR = "face64"
Upscaler = Callable[[Tensor], Tensor]  # pixels 1 C h w in 0..1 to 1 C H W on the CPU


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
    parser.add_argument("--method", choices=tuple(UPSCALERS), default="srcnn", help="how to upscale (default srcnn)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, default=2.0, help="enlargement, 1 to 64; srcnn is trained for 2, 3 and 4 (default 2)")
    size.add_argument("--longest", type=int, metavar="PIXELS", help="in place of --scale: how long the longer side of each result will be")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument("--seed", type=int, default=0, help="of the methods that draw noise (default 0)")
    group = parser.add_argument_group("srcnn")
    group.add_argument("--weights", help="a weight file, or the name of one in a model folder (default: the shipped one for the scale)")
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
    group.add_argument("--dpi-steps", type=int, default=0, help="network calls for each picture; 0: as the preset says (default 0)")
    add_settings(group, DPISettings, prefix="dpi-", but=("respacing",), preset=True)
    group = parser.add_argument_group("guided")
    group.add_argument(
        "--classifier",
        nargs="+",
        default=[],
        metavar="FILE",
        help="the weight file of a noise-aware classifier, without which the method runs alone (guided: ADM; srdg: attribute classifiers, one each)",
    )
    group.add_argument("--label", type=int, default=-1, help="the class of the picture, 0 to 999 for ImageNet networks")
    add_settings(group, GuidedSettings, prefix="guided-")
    group = parser.add_argument_group("srdg")
    group.add_argument(
        "--attributes",
        default="",
        help="what the faces shall have, by name or number of the class: happy=1 or gender=male,glasses=0; needs --classifier unless one comes along",
    )
    group.add_argument("--attribute-weights", default="", help="how much each weighs, where not 1: gender=2,beard=0.5")
    add_settings(group, SRDGSettings, prefix="srdg-")


def _srcnn(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    settings = read_settings(SRCNNSettings, options)
    network, native = load_srcnn(scale, options.weights)
    network = network.to(device)
    return lambda pixels: srcnn_upscale(network, pixels, scale, native, settings).cpu()


def _bicubic(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    return lambda pixels: resize(pixels, tuple(scaled_size(n, scale) for n in pixels.shape[-2:])).clamp(0, 1)


def _posterior(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    if not options.prior:
        raise ValueError(f"--method {options.method} needs --prior FILE: an ADM file for dps, an EDM file for edm-dps")
    kind, prefix = (DPSSettings, "dps-") if options.method == "dps" else (EDMDPSSettings, "edm-")
    settings, canvas = read_settings(kind, options, prefix), read_settings(CanvasSettings, options, "prior-")
    prior = load_prior(options.prior, read_settings(PriorSettings, options, "prior-"))
    prior.network.to(device)
    seeded = partial(posterior_upscale, prior, scale=scale, settings=settings, canvas=canvas)
    return _stepwise(seeded, steps_of(prior, settings), options.seed, device)


def _guided(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    if not options.prior:
        raise ValueError("--method guided needs --prior FILE, an ADM upsampler such as 64_256_upsampler.pt")
    settings, canvas = read_settings(GuidedSettings, options, "guided-"), read_settings(CanvasSettings, options, "prior-")
    prior = load_prior(options.prior, read_settings(PriorSettings, options, "prior-"))
    if len(options.classifier) > 1:
        raise ValueError(f"--method guided takes one classifier, not {len(options.classifier)}: leave out the others")
    classifier = load_classifier(*options.classifier).to(device) if options.classifier else None
    check_guided(prior, classifier, options.label)
    prior.network.to(device)
    upscale = partial(guided_upscale, prior, classifier, label=options.label, scale=scale, settings=settings, canvas=canvas)
    return _stepwise(upscale, guided_steps(prior, settings), options.seed, device)


def _diffsr(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    settings, canvas = read_settings(DiffSRSettings, options, "diffsr-"), read_settings(CanvasSettings, options, "prior-")
    prior = load_prior(options.prior or SHIPPED_PRIOR, read_settings(PriorSettings, options, "prior-"))
    prior.network.to(device)
    report = lambda i, text: log.info("%s", text)  # noqa: E731
    upscale = partial(diffsr_upscale, prior, scale=scale, settings=settings, canvas=canvas, report=report)
    return _stepwise(upscale, settings.steps, options.seed, device)


def _dpi(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    settings = choice.choose_settings(options.preset, scale, options.dpi_steps, **given_settings(DPISettings, options, "dpi-"))
    canvas = read_settings(CanvasSettings, options, "prior-")
    prior = load_prior(options.prior or SHIPPED_PRIOR, read_settings(PriorSettings, options, "prior-"))
    corrector = choice.choose_corrector(options.corrector, prior.channels, scale, settings.k, options.preset == choice.REAL, log.info)
    if corrector:
        corrector.check(prior.channels, settings.k, scale)
    for one in filter(None, (prior, corrector)):
        one.network.to(device)
    warned: list[str] = []

    def upscale(low: Tensor, **more) -> Tensor:
        if not warned and (warning := misfit(prior, tuple(low.shape[-2:]), scale)):
            log.warning("%s", warning)
            warned.append(warning)
        for text in filter(None, untypical(prior, low, scale)):
            log.warning("%s", text)
        return dpi_upscale(prior, corrector, low, scale, settings, canvas, **more)

    return _stepwise(upscale, len(levels_of(prior, settings)) - 1, options.seed, device)


def _srdg(options: argparse.Namespace, scale: float, device: torch.device) -> Upscaler:
    if not (name := options.prior or next(iter(shipped_networks()), "")):
        raise ValueError("--method srdg needs --prior FILE, an NCSN++ super-resolution network: none comes along")
    settings, canvas = read_settings(SRDGSettings, options, "srdg-"), read_settings(CanvasSettings, options, "prior-")
    wanted = parse_wishes(options.attributes)
    classifiers = [load_attribute(file) for file in options.classifier or (shipped_attributes() if wanted else ())]
    asked, prior = wishes(classifiers, wanted, parse_weights(options.attribute_weights)), load_sr_prior(name)
    for network in (prior.network, *(wish.classifier.network for wish in asked)):
        network.to(device)
    return _stepwise(partial(srdg_upscale, prior, scale=scale, wanted=asked, settings=settings, canvas=canvas), settings.steps, options.seed, device)


def _stepwise(upscale: Callable[..., Tensor], steps: int, seed: int, device: torch.device) -> Upscaler:
    """An upscaler that shows its steps; each picture has the seed."""

    def work(pixels: Tensor) -> Tensor:
        with tqdm(total=steps, unit="step", leave=False, disable=None) as bar:
            return upscale(low=pixels.to(device), seeds=[seed] * len(pixels), on_step=lambda step, x: bar.update()).cpu()

    return work


UPSCALERS = {
    "srcnn": _srcnn,
    "bicubic": _bicubic,
    "dps": _posterior,
    "edm-dps": _posterior,
    "guided": _guided,
    "diffsr": _diffsr,
    "dpi": _dpi,
    "srdg": _srdg,
}


def _upscale(options: argparse.Namespace) -> int:
    device = compute_device(options.device)
    upscaler = lru_cache(1)(lambda scale: UPSCALERS[options.method](options, scale, device))
    if options.longest is None:
        upscaler(check_scale(options.scale))  # complains before the first picture is read
    elif options.longest < 1:
        raise ValueError(f"--longest {options.longest} leaves no picture: give the pixels of the longer side")

    @torch.no_grad()
    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        scale = options.scale if options.longest is None else scale_for(options.longest, tuple(picture.pixels.shape[-2:]))
        pixels = upscaler(scale)(picture.pixels)
        size = tuple(pixels.shape[-2:])
        alpha = None if picture.alpha is None else resize(picture.alpha, size).clamp(0, 1)
        return replace(picture, pixels=pixels, alpha=alpha), {"size": [size[1], size[0]]}

    return run_files(options, work)


def _degrade_arguments(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--preset", choices=tuple(PRESETS), default="bicubic", help="the degradation (default bicubic)")
    group.add_argument("--recipe", help="a recipe saved as JSON, to draw from or to replay")
    parser.add_argument("--scale", type=float, default=4.0, help="reduction of bicubic, srdg and real-world (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="the same picture and seed give the same result (default 0)")
    parser.add_argument("--vary", action="store_true", help="in a folder, derive each picture's seed from --seed and its name")
    parser.add_argument("--save-recipe", help="write what was drawn as JSON (single pictures; a folder's is in --json)")


def _degrade(options: argparse.Namespace) -> int:
    recipe = Recipe.from_json(Path(options.recipe).read_text(encoding="utf-8")) if options.recipe else preset(options.preset, options.scale)
    if options.save_recipe and not Path(options.source).is_file():
        raise ValueError("--save-recipe is for a single picture: a folder's recipes are printed with --json")
    if options.save_recipe and Path(options.save_recipe).exists() and not options.overwrite:
        raise FileExistsError(f"{options.save_recipe} exists: choose another name or add --overwrite")

    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        # a name keeps its seed when the folder around it changes, a place in the list would not
        seed = f"{options.seed}/{job.source.name}" if options.vary else options.seed
        drawn = recipe.draw(seed)
        pixels = drawn(picture.pixels[0])[None].clamp(0, 1)
        alpha = picture.alpha
        if alpha is not None and alpha.shape[-2:] != pixels.shape[-2:]:
            alpha = resize(alpha, tuple(pixels.shape[-2:])).clamp(0, 1)
        if options.save_recipe:
            with replacing(Path(options.save_recipe)) as partial:
                partial.write_text(drawn.to_json(), encoding="utf-8")
        return replace(picture, pixels=pixels, alpha=alpha), {"seed": seed, "recipe": json.loads(drawn.to_json())}

    return run_files(options, work)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="the picture, or folder of pictures, to judge")
    parser.add_argument("b", help="the reference with the same size (in a folder: the same name)")
    parser.add_argument("--channels", choices=("rgb", "luma"), default="rgb", help="what is compared (default rgb)")
    parser.add_argument("--border", type=int, default=0, help="pixels cut from each side first (default 0)")


def _compare(options: argparse.Namespace) -> int:
    a, b = Path(options.a), Path(options.b)
    if a.is_dir() != b.is_dir():
        raise ValueError("compare takes two pictures or two folders, not one of each")
    names = sorted(p.name for p in a.iterdir() if p.is_file()) if a.is_dir() else [None]
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
        rows.append({"file": "mean", **{k: statistics.fmean(values) if values else None for k, values in columns.items()}})
    _print(rows, options.json)
    return 1 if failed else 0


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate.commands import add_studies

    add_studies(parser)


def _evaluate(options: argparse.Namespace) -> int:
    rows = options.study.run(options, compute_device(options.device))
    _print(rows, options.json)
    return 0


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="the weight file of a prior, or its name in a model folder")
    parser.add_argument("out", metavar="OUT", help="the file to write, .safetensors")
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="PATH", help="folders or archives of pictures such as the prior's, not trained on"
    )
    parser.add_argument("--count", type=int, default=128, help="how many of them are used (default 128)")
    parser.add_argument("--swept", type=int, default=32, help="how many of these the noise levels are tried on (default 32)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    add_settings(parser, PriorSettings)


def _calibrate(options: argparse.Namespace) -> int:
    from .diffsr.calibrate import calibrate, store
    from .train.data import read_pictures
    from .train.prior import squares

    source, target = weights.locate(options.source), Path(options.out)
    if target.exists() and not options.overwrite:
        raise FileExistsError(f"{target} exists: choose another name or add --overwrite")
    settings, device = read_settings(PriorSettings, options), compute_device(options.device)
    prior = load_prior(str(source), settings)
    prior.network.to(device)
    pictures = squares(read_pictures(options.data)[: options.count], prior.size, prior.channels)
    measured = calibrate(prior, (pictures.float() / 127.5 - 1).to(device), options.swept, on_step=log.info)
    store(source, target, prior, measured, settings)
    _print([{"file": str(target), **{k: getattr(measured, k) for k in ("max_signature", "max_fidelity", "faithful")}}], options.json)
    return 0


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from .train.commands import add_trainers

    add_trainers(parser)


def _train(options: argparse.Namespace) -> int:
    from .train.commands import train

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
        row = {"name": missing, "kind": "srcnn", "scale": missing[-1], "state": "missing: reinstall PriorSR, or train it"}
        rows.append({**row, "path": str(weights.SHIPPED)})
    _print(rows, options.json)
    return 0


def _print(rows: list[dict], as_json: bool) -> None:
    if as_json:
        # JSON has no infinity, which is the PSNR of equal pictures
        print(json.dumps([{k: None if isinstance(v, float) and math.isinf(v) else v for k, v in r.items()} for r in rows]))
        return
    keys = list(rows[0]) if rows else []
    table = [keys] + [[f"{r[k]:.4f}" if isinstance(r[k], float) else str(r[k]) for k in keys] for r in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(keys))]
    for row in table:
        sys.stdout.write("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() + "\n")


COMMANDS = (
    Command("upscale", "Enlarge pictures.", _upscale_arguments, _upscale),
    Command("degrade", "Degrade pictures, repeatably, for training and testing.", _degrade_arguments, _degrade),
    Command("compare", "Measure PSNR, SSIM and mean absolute error between pictures.", _compare_arguments, _compare),
    Command("evaluate", "Measure methods on pictures whose truth is known.", _evaluate_arguments, _evaluate, json=False),
    Command("calibrate", "Measure a prior's errors and its recoverable field, which Diff-SR needs.", _calibrate_arguments, _calibrate),
    Command("train", "Train a network of this package.", _train_arguments, _train, json=False),
    Command("models", "List the weight files found, and what is missing.", lambda parser: None, _models),
)
