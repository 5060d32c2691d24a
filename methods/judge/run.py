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
from torch import Tensor

from .. import weights
from ..imaging.images import read
from ..metrics import niqe as niqe_model
from ..metrics.bootstrap import Summary, summary, summary_of_set
from ..metrics.frechet import frechet_distance
from ..metrics.identity import LANDMARKS, NETWORK
from ..metrics.perceptual import inception, inception_distances
from ..metrics.recognition import Faces, equal_error_rate, identification, protocol_pairs, roc_auc
from ..train.datasets import FILE, read_table
from ..weights.fetch import sha256_of
from .figures import Figure, backbones, chosen
from .pairs import Failure, Job, gather, listed
from .picture import EMBEDDING, PictureJudge
from .protocol import Protocol
from .record import Record

OnPicture = Callable[[int, int], None]  # pictures done, of so many
PACKAGES = ("priorsr", "torch", "torchmetrics", "numpy", "pillow", "dlib-bin")
WIDTH = 128  # of an embedding
TRUE = f"true {EMBEDDING}"
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
        found = _each(figures, pictures, asked.seed, failures, lacking, bool(asked.metrics))
        sets = _Sets(asked, pictures, rows, reference, gallery, people, failures)
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


def _each(
    figures: Sequence[Figure],
    pictures: Sequence[dict],
    seed: int,
    failures: list[Failure],
    lacking: dict[str, str],
    named: bool,
) -> dict[str, Summary]:
    """Means over pictures; a figure that all are too small for is a failure only where it was named."""
    found = {}
    for figure in (f for f in figures if not f.of_set):
        values = [row[figure.name] for row in pictures if row.get(figure.name) is not None]
        if values:
            found[figure.name] = summary(values, seed, figure.median)
        elif figure.smallest and not named:
            lacking[figure.name] = f"needs pictures of {figure.smallest} pixels"
        else:
            failures.append(
                Failure(f"all {len(pictures)} pictures", f"{figure.name} is defined for none of them")
            )
    return found


@dataclass
class _Sets:
    """What is told of all pictures together; what cannot be is a failure with its reason."""

    asked: Asked
    pictures: Sequence[dict]
    rows: dict[str, dict]
    reference: Sequence[tuple[str, Path]]
    gallery: Sequence[tuple[str, Path]]
    people: dict[str, str]
    failures: list[Failure]

    def frechet(self, figures: Sequence[Figure]) -> dict[str, Summary]:
        if "frechet" not in {f.name for f in figures}:
            return {}
        own = _stacked(row.get(EMBEDDING) for row in self.pictures)
        other = (
            _stacked(self.rows.get(f"reference {name}", {}).get(EMBEDDING) for name, _ in self.reference)
            if self.reference
            else _stacked(row.get(TRUE) for row in self.pictures)
        )
        if min(len(own), len(other)) < 2:
            self._too_few("frechet", len(own), len(other))
            return {}
        # truths go with their results; a reference stays as it is
        together = not self.reference

        def measure(which: Tensor) -> float:
            return frechet_distance(own[which], other[which] if together else other)

        return {"frechet": summary_of_set(measure, len(own), self.asked.seed)}

    def inception(
        self, figures: Sequence[Figure], jobs: Sequence[Job], device: torch.device | str
    ) -> dict[str, Summary]:
        wanted = {f.name for f in figures} & {"fid", "kid"}
        if not wanted:
            return {}
        judged = {row[FILE] for row in self.pictures}
        own = [job.result for job in jobs if job.name in judged]
        other = [p for _, p in self.reference] or [j.truth for j in jobs if j.name in judged and j.truth]
        if min(len(own), len(other)) < 2:
            for name in sorted(wanted):
                self._too_few(name, len(own), len(other))
            return {}
        features = [torch.cat([inception(read(p).pixels.to(device)) for p in some]) for some in (own, other)]
        values = inception_distances(*features)
        return {name: Summary(values[name], None, None, len(own)) for name in wanted}

    def recognition(self, figures: Sequence[Figure]) -> dict[str, Summary]:
        wanted = {f.name for f in figures if "people" in f.needs}
        if not wanted:
            return {}
        probes = self._faces([(row[FILE], row.get(EMBEDDING)) for row in self.pictures])
        gallery = self._faces(
            [(name, self.rows.get(f"gallery {name}", {}).get(EMBEDDING)) for name, _ in self.gallery]
            if self.gallery
            else [(row[FILE], row.get(TRUE)) for row in self.pictures]
        )
        found: dict[str, Summary] = {}
        try:
            genuine, impostor = protocol_pairs(probes, gallery)
            values = {"auc": roc_auc(genuine, impostor), "eer": equal_error_rate(genuine, impostor)}
            found |= {name: Summary(v, None, None, len(genuine)) for name, v in values.items()}
            ranks = identification(probes, gallery)
            found |= {
                name: Summary(ranks.rank(int(name[5:])), None, None, ranks.probes)
                for name in wanted
                if name.startswith("rank-")
            }
        except ValueError as error:
            self.failures.append(Failure("all pictures", f"no recognition: {error}"))
        return {name: one for name, one in found.items() if name in wanted}

    def _faces(self, some: Sequence[tuple[str, list[float] | None]]) -> Faces:
        kept, strange = [], []
        for name, vector in some:
            if vector is not None:
                (kept if name in self.people else strange).append((name, vector))
        self.failures += [Failure(name, "the table of people does not name it") for name, _ in strange]
        vectors = torch.tensor([v for _, v in kept], dtype=torch.float32, device="cpu").reshape(
            len(kept), WIDTH
        )
        return Faces(vectors, [n for n, _ in kept], [self.people[n] for n, _ in kept])

    def _too_few(self, name: str, own: int, other: int) -> None:
        why = f"no {name}: sets of {own} and {other} pictures have no spread, at least 2 each are needed"
        self.failures.append(Failure("all pictures", why))


def _stacked(vectors) -> Tensor:
    kept = [v for v in vectors if v is not None]
    return torch.tensor(kept, dtype=torch.float32, device="cpu").reshape(len(kept), WIDTH)


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
