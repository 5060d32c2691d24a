"""A folder of results judged: its pictures on all cores, then what is told of all of them together."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from .. import weights
from ..imaging.datasets import FILE, read_table
from ..metrics import niqe as niqe_model
from ..metrics.identity import LANDMARKS, NETWORK
from ..weights.fetch import sha256_of
from .figures import Figure, backbones, chosen
from .pairs import Failure, Job, gather, listed
from .picture import EMBEDDING, PictureJudge
from .protocol import Protocol
from .record import Record
from .sets import Sets, each

OnPicture = Callable[[int, int], None]  # pictures done, of so many
PACKAGES = ("priorsr", "torch", "torchmetrics", "numpy", "pillow", "dlib-bin")
PERSON = "identity"  # the column of a table of people


@dataclass(frozen=True)
class Asked:
    """What is judged: results, and what they are compared with; folders, zip archives, or single pictures.

    identities: tables of columns file and identity. gallery: pictures that probes are looked for in, the
    truth by default. niqe: a model file. rows: where finished pictures are kept, so that a run resumes.
    label: the results' name in reports.
    """

    results: Path
    truth: Path | None = None
    inputs: Path | None = None
    reference: Path | None = None
    gallery: Path | None = None
    identities: tuple[Path, ...] = ()
    protocol: Protocol = field(default_factory=Protocol)
    metrics: tuple[str, ...] = ()
    niqe: Path | None = None
    seed: int = 0
    rows: Path | None = None
    label: str = ""

    def given(self) -> frozenset[str]:
        """What figures may need of it."""
        found = {name for name in ("truth", "inputs") if getattr(self, name)}
        found |= {"set"} if self.truth or self.reference else set()
        found |= {"people"} if self.identities and (self.truth or self.gallery) else set()
        return frozenset(found | ({"faces"} if self.protocol.faces != "off" else set()))


def judge(
    asked: Asked,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    on_picture: OnPicture = lambda done, total: None,
    report: Callable[[str], None] = lambda text: None,
) -> Record:
    """Judge; bad pictures are named in the record and the rest is judged.

    Raises ValueError, FileNotFoundError and ImportError where nothing can be judged, or a metric that was
    named cannot be computed.
    """
    asked.protocol.check()
    figures, lacking = chosen(asked.metrics or asked.protocol.metrics, asked.given())
    if asked.metrics and lacking:
        name, why = next(iter(lacking.items()))
        raise ValueError(f"{name} cannot be computed: {why}")
    model = None if asked.niqe is None else niqe_model.read_model(asked.niqe)
    people = _people(asked.identities)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        jobs, failures = gather(asked.results, asked.truth, asked.inputs, asked.protocol.pairs, folder)
        one = PictureJudge(asked.protocol, figures, torch.device(device), model)
        others = [p for p in (asked.reference,) if p and any(f.of_set for f in figures)]
        reference = listed(others, folder / "reference")
        gallery = listed([asked.gallery], folder / "gallery") if asked.gallery and people else []
        work = [(f"result {job.name}", job) for job in jobs]
        if one.faces:
            work += [
                (f"{role} {n}", Job(n, p))
                for role, some in (("reference", reference), ("gallery", gallery))
                for n, p in some
            ]
        digest = _digest(asked, figures)
        rows = dict(_rows(work, one, digest, asked.rows, workers, on_picture, failures, report))
        pictures = [
            {FILE: job.name, **rows[f"result {job.name}"]} for job in jobs if f"result {job.name}" in rows
        ]
        if not pictures:
            reasons = f": {failures[0].file}: {failures[0].reason}" if failures else ""
            raise ValueError(f"none of {len(jobs)} results of {asked.results} could be judged{reasons}")
        found = each(figures, pictures, asked.seed, failures, lacking, bool(asked.metrics))
        sets = Sets(bool(asked.reference), asked.seed, pictures, rows, reference, gallery, people, failures)
        found |= sets.frechet(figures) | sets.recognition(figures) | sets.inception(figures, jobs, device)
    shown = [{k: v for k, v in row.items() if not k.endswith(EMBEDDING)} for row in pictures]
    what = {
        n: str(v) for n in ("results", "truth", "inputs", "reference", "gallery") if (v := getattr(asked, n))
    }
    return Record(
        asked.label or asked.results.name,
        asked.protocol.described(),
        what,
        {name: found[name] for name in (f.name for f in figures) if name in found},
        lacking,
        failures,
        shown,
        {name: number for name in PACKAGES if (number := _version(name))},
        _weights(figures, asked),
        asked.seed,
    )


def _rows(
    work: Sequence[tuple[str, Job]],
    one: PictureJudge,
    digest: str,
    place: Path | None,
    workers: int | None,
    on_picture: OnPicture,
    failures: list[Failure],
    report: Callable[[str], None],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A row for each picture that can be judged, in order; finished ones of an earlier run are taken over."""
    kept = _kept(place)
    count = workers or torch.get_num_threads()

    def done(item: tuple[str, Job]) -> tuple[str, dict[str, Any] | None, str]:
        name, job = item
        try:
            key = _key(digest, name, job) if place is not None else ""  # which reads all of its files
            if key in kept:
                return key, kept[key], ""
            if name.startswith("result "):
                row, problem = one(job)
            else:
                vector, problem = one.embedding(job.result)
                row = {} if vector is None else {EMBEDDING: vector}
            return key, row, problem
        except (ValueError, OSError) as error:
            return "", None, str(error)

    with _one_thread_each(count) as pool:
        for i, ((name, job), (key, row, problem)) in enumerate(zip(work, pool.map(done, work), strict=True)):
            if problem:
                said = problem.removeprefix(f"{job.result}: ")
                failures.append(Failure(str(job.result), said))
                report(f"{job.result}: {said}")
            if row is not None:
                if place is not None and key not in kept and not problem:
                    with place.open("a", encoding="utf-8") as file:
                        file.write(json.dumps([key, row]) + "\n")
                yield name, row
            on_picture(i + 1, len(work))


@contextmanager
def _one_thread_each(count: int) -> Iterator[ThreadPoolExecutor]:
    """Pictures beside each other, each on one thread: nobody waits, and figures are the same on any number of
    cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(max(1, count), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _kept(place: Path | None) -> dict[str, dict[str, Any]]:
    """Rows of an interrupted run; its last line may be cut."""
    kept = {}
    if place is not None and place.is_file():
        for line in place.read_text(encoding="utf-8").splitlines():
            try:
                key, row = json.loads(line)
            except ValueError:
                continue
            kept[key] = row
    return kept


def _digest(asked: Asked, figures: Sequence[Figure]) -> str:
    """What rows depend on beside their pictures."""
    told = asked.protocol.described() | {"figures": [f.name for f in figures], "niqe": _sha(asked.niqe)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _key(digest: str, name: str, job: Job) -> str:
    parts = [digest, name, *(_sha(path) for path in (job.result, job.truth, job.low))]
    return hashlib.sha256("/".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _sha(path: Path | None) -> str:
    return "" if path is None else sha256_of(path)


def _people(tables: Sequence[Path]) -> dict[str, str]:
    """Who is who, by names without suffixes. Raises ValueError for a table without the column."""
    found = {}
    for name, row in read_table(tables).items():
        if PERSON not in row:
            raise ValueError(f"{tables[0]} has no column {PERSON!r}: name that of the people so")
        found[str(Path(name).with_suffix("").as_posix())] = row[PERSON]
    return found


def _weights(figures: Sequence[Figure], asked: Asked) -> dict[str, str]:
    """SHA-256 of every file that a figure came from."""
    files = {name: Path(path) for name, path in backbones(list(figures)).items()}
    names = {f.name for f in figures}
    if "niqe" in names:
        files["niqe"] = asked.niqe or niqe_model.SHIPPED
    if any(f.faces for f in figures):
        spec = find_spec("face_recognition_models")
        held = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "models"
        files |= {file: held / file for file in (NETWORK, LANDMARKS)}
        if asked.protocol.faces == "find":
            files["mtcnn"] = weights.locate("mtcnn")
    return {name: _sha(path) for name, path in files.items() if path.is_file()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
