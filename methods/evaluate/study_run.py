"""A study run: every picture restored by every run and judged, going on where an earlier one stopped."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import weights
from ..imaging.datasets import find_files
from ..imaging.images import Picture, read, to_uint8, write
from ..imaging.resize import modcrop, size_of
from ..judge.pairs import Failure, Job, Pairs, gather
from ..judge.protocol import read_protocol
from ..judge.record import Record, read_record
from ..judge.run import Asked, judge
from ..metrics.bootstrap import summary
from ..metrics.faces import exact_scale, reduced
from ..metrics.sharpness import seed_diversity
from ..weights.fetch import sha256_of
from .study import MADE, Study
from .variants import Variant

BATCH = 8  # pictures of one size that are restored together
Report = Callable[[str], None]


@dataclass(frozen=True)
class Given:
    """What a study runs on: true pictures, perhaps what they came to, and who they show.

    Without inputs, 8-bit bicubic reductions are made. count: only the first so many pictures, 0 for all.
    """

    truth: Path
    inputs: Path | None = None
    identities: tuple[Path, ...] = ()
    gallery: Path | None = None
    count: int = 0
    faces: str | None = None


@dataclass
class Outcome:
    """Records by the folder of each scale, and what could not be done, by the run."""

    records: list[Record] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def run_study(
    study: Study,
    given: Given,
    out: Path,
    device: torch.device | str = "cpu",
    report: Report = lambda text: None,
) -> Outcome:
    """Restore and judge below `out`: a folder for every scale with truth, inputs, and results and a record
    for every run. Picture i has seed i. A run that cannot be prepared is left out and named.

    Raises ValueError, FileNotFoundError for pictures that cannot be read or fit no scale.
    """
    found, variants = Outcome(), study.named()
    with tempfile.TemporaryDirectory() as unpacked:
        jobs = _pictures(study, given, Path(unpacked))
        places = [(s, out / f"x{s:g}", _placed(jobs, s, out, study.centre)) for s in study.scales]
    for scale, place, exact in places:
        names = [name for name, _ in find_files([place / "truth"], place)]
        for label, variant in variants.items():
            if label in found.left_out:
                continue
            try:
                files = hashes(variant)
                folder = place / _slug(label, variant, files)
                records = _judged(
                    study, given, folder, names, label, variant, files, (scale, exact), report, device
                )
            except (ValueError, FileNotFoundError, ImportError) as error:
                found.left_out[label] = str(error)
                report(f"{label} is left out: {error}")
                continue
            found.records += records
    return found


def _pictures(study: Study, given: Given, unpacked: Path) -> list[Job]:
    """True pictures as results, their inputs as inputs."""
    ends = read_protocol(study.protocols[0]).pairs if given.inputs else Pairs()
    pairs = Pairs(results=ends.truth, inputs=ends.inputs)
    jobs, failures = gather(given.truth, None, given.inputs, pairs, unpacked)
    if failures or not jobs:
        one = failures[0] if failures else Failure(str(given.truth), "it holds no picture")
        raise ValueError(f"{one.file}: {one.reason}")
    return jobs[: given.count] if given.count else jobs


def _placed(jobs: Sequence[Job], scale: float, out: Path, centre: int) -> float:
    """Put truths and inputs where they are judged; the scale that takes whole pixels to whole pixels."""
    place, exact = out / f"x{scale:g}", scale
    for job in jobs:
        truth = read(job.result).pixels
        if centre and job.low is None:
            truth = _middle(truth, centre)
        if job.low is not None:
            low = read(job.low).pixels
        elif scale == round(scale):
            truth = modcrop(truth, round(scale))
            low = reduced(truth, scale)
        elif len(set(size_of(truth))) == 1:
            exact = exact_scale(truth.shape[-1], scale)
            low = reduced(truth, exact)
        else:
            raise ValueError(
                f"{job.result} is not square, and a scale of {scale:g} is not whole: give a whole one"
            )
        for kind, x in (("truth", truth), ("inputs", low)):
            _keep(x, place / kind / f"{job.name}.png")
    return exact


def _middle(x: Tensor, side: int) -> Tensor:
    height, width = size_of(x)
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return x[..., top : top + side, left : left + side]


def _keep(x: Tensor, path: Path) -> None:
    """Write what is not there. Raises ValueError where another picture is."""
    if not path.is_file():
        write(Picture(x), path)
    elif not torch.equal(to_uint8(read(path).pixels), to_uint8(x)):
        raise ValueError(f"{path} is of a run with other pictures: choose another folder")


def _judged(
    study: Study,
    given: Given,
    folder: Path,
    names: Sequence[str],
    label: str,
    variant: Variant,
    files: Mapping[str, str],
    scales: tuple[float, float],
    report: Report,
    device: torch.device | str,
) -> list[Record]:
    """A record for each protocol."""
    found = []
    told = {
        "study": study.name,
        "name": variant.method.name,
        "settings": dict(variant.given),
        "seeds": "picture i has seed i",
        "weights": dict(files),
    }
    for protocol in study.protocols:
        path = folder.with_name(f"{folder.name}.{protocol}.json")
        if not path.is_file():
            report(f"x{scales[0]:g}: {label}")
            _restore(variant, folder, names, scales[1], study.samples, device)
            record = _judge(study, given, folder, names, label, protocol, scales[0])
            replace(record, method=told).save(path)
        found.append(read_record(path))
    return found


@torch.no_grad()
def _restore(
    variant: Variant,
    folder: Path,
    names: Sequence[str],
    scale: float,
    samples: int,
    device: torch.device | str,
) -> None:
    """Picture i with seed i, and with seeds apart for more samples; those that are there stay."""
    upscaler, times = None, folder.with_name(f"{folder.name}.seconds.jsonl")
    for sample in range(samples):
        where = folder if sample == 0 else folder.with_name(f"{folder.name}.samples") / str(sample)
        waiting = [i for i, name in enumerate(names) if not (where / name).is_file()]
        for some, low in _batches(folder.parent / "inputs", names, waiting):
            upscaler = upscaler or variant.prepare().to(device)
            start = time.perf_counter()
            done = upscaler(low, scale, [sample * len(names) + i for i in some]).cpu().clamp(0, 1)
            each = (time.perf_counter() - start) / len(some)
            for i, x in zip(some, done, strict=True):
                height, width = size_of(read(folder.parent / "truth" / names[i]).pixels)
                write(Picture(x[None, :, :height, :width]), where / names[i], overwrite=True)
            with times.open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(each)}\n" for _ in some)


def _batches(
    folder: Path, names: Sequence[str], waiting: Sequence[int]
) -> Iterator[tuple[list[int], Tensor]]:
    """Pictures of one size and kind that follow each other."""
    some: list[int] = []
    low: list[Tensor] = []
    for i in waiting:
        x = read(folder / names[i]).pixels
        if low and (x.shape != low[0].shape or len(low) == BATCH):
            yield some, torch.cat(low)
            some, low = [], []
        some, low = [*some, i], [*low, x]
    if low:
        yield some, torch.cat(low)


def _judge(
    study: Study,
    given: Given,
    folder: Path,
    names: Sequence[str],
    label: str,
    protocol: str,
    scale: float,
) -> Record:
    place = folder.parent
    crop = None if scale == round(scale) else "none"
    rules = read_protocol(protocol, scale=float(scale), faces=given.faces, crop=crop)
    asked = Asked(
        folder,
        place / "truth",
        place / "inputs",
        identities=given.identities,
        gallery=given.gallery,
        protocol=replace(rules, pairs=Pairs(), metrics=_asked(study, rules.metrics)),
        label=label,
    )
    record = judge(asked)
    made: dict[str, Sequence[float]] = {}
    if "seconds" in study.metrics:
        times = folder.with_name(f"{folder.name}.seconds.jsonl").read_text(encoding="utf-8")
        made["seconds"] = [float(line) for line in times.splitlines()]
    if "diversity" in study.metrics:
        made["diversity"] = _diversity(folder, names, study.samples)
    figures = record.figures | {name: summary(values, record.seed) for name, values in made.items()}
    what = {n: f"{study.name} x{scale:g}" if n in ("truth", "inputs") else n for n in record.what}
    what["results"] = folder.name
    return replace(record, figures=figures, what=what)


def _asked(study: Study, own: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n for n in study.metrics if n not in MADE) or own


def _diversity(folder: Path, names: Sequence[str], samples: int) -> list[float]:
    """Levels of 255 between the samples of every picture."""
    places = [folder, *(folder.with_name(f"{folder.name}.samples") / str(j) for j in range(1, samples))]
    return [
        255 * float(seed_diversity(torch.stack([read(place / name).pixels for place in places])))
        for name in names
    ]


def hashes(variant: Variant) -> dict[str, str]:
    """SHA-256 of the weight files of a run. Raises FileNotFoundError."""
    found = {}
    for one in variant.method.weights:
        value = variant.given.get(one.name) or one.default
        for name in [value] if isinstance(value, str) else value:
            if name and (name not in one.words):
                path = weights.locate(name)
                if path.is_file():
                    state = path.stat()
                    found[f"{one.name} {path.name}"] = _sha(str(path), state.st_size, state.st_mtime_ns)
    return found


@lru_cache
def _sha(path: str, size: int, changed: int) -> str:
    """Of a file as it is now, which may have gigabytes."""
    return sha256_of(Path(path))


def _slug(label: str, variant: Variant, files: Mapping[str, str]) -> str:
    """A folder's name for a run, of its own whatever differs."""
    told: list[Any] = [variant.method.name, dict(variant.given), dict(files)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-zA-Z0-9=.-]+', '_', label)[:48]}-{digest}"
