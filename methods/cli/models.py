"""`priorsr models`: every weight file that is found, what it is, what it is for, and why where it cannot be
used; the published ones, what a file is, and the fetching of one.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from .. import weights
from ..settings import nearest
from ..weights.fetch import fetch, sha256_of
from ..weights.known import KNOWN, PRIORSR, Known, find_known, known_by_hash
from .parser import Command

log = logging.getLogger("priorsr")

COLUMNS = ("name", "kind", "title", "use", "licence", "terms", "parts", "scale", "size", "dtype", "sha256")
SRCNN = ("srcnn_x2", "srcnn_x3", "srcnn_x4")  # without which the package is incomplete
SHOWN = ("name", "kind", "scale", "size", "dtype", "terms", "state")  # columns of the table; --json has all
TERMS = ("research only", "non-commercial")  # what of a file's licence stands beside its name
PUBLISHED = ("name", "file", "method", "size", "licence", "commercial", "here")
ASKED = ("file", "kind", "complete", "known", "sha256")


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=type(parser))
    told = "the published files that methods take, their licences, and which of them are here"
    add = {"list": actions.add_parser("list", help=told, description=told)}
    told = "what weight files are, whether they are complete, their hashes"
    add["check"] = actions.add_parser("check", help=told, description=told)
    add["check"].add_argument("files", nargs="+", metavar="FILE", help="a weight file, or its name")
    told = "bring a published file here; goes on where an earlier try broke off"
    add["fetch"] = actions.add_parser("fetch", help=told, description=told)
    add["fetch"].add_argument("name", metavar="NAME", help="its name in `priorsr models list`")
    add["fetch"].add_argument(
        "--folder", help="where it goes (default: the first folder of the environment's PRIORSR_MODELS)"
    )
    add["fetch"].add_argument(
        "--address", default="", metavar="URL", help="where else it lies, such as a mirror"
    )
    for one in add.values():
        one.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print the result as JSON on standard output",
        )


def _run(options: argparse.Namespace) -> int:
    return {None: list_models, "list": _published, "check": _check, "fetch": _fetch}[options.action](options)


def _published(options: argparse.Namespace) -> int:
    rows = [{**asdict(one), "here": str(path) if (path := _here(one)) else ""} for one in KNOWN]
    if options.json:
        print(json.dumps(rows))
    else:
        _table([[row[key] for key in PUBLISHED] for row in rows], PUBLISHED)
    return 0


def _here(one: Known) -> Path | None:
    return next((p for folder in weights.folders() if _whole(p := folder / one.file, one)), None)


def _whole(path: Path, one: Known) -> bool:
    return all((path / part.file).is_file() for part in one.parts) if one.parts else path.is_file()


def _check(options: argparse.Namespace) -> int:
    rows = [_checked(weights.locate(name)) for name in options.files]
    if options.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print("\n".join(f"{name:<9} {row[name] or 'unknown'}" for name in ASKED), end="\n\n")
    return 0 if all(row["complete"] == "yes" for row in rows) else 1


def _checked(path: Path) -> dict[str, str]:
    """What a file is by its header, and which published one by its content or, if need be, by its name."""
    kind = problem = ""
    try:
        found = weights.describe(path)
        kind = found.kind.title if found.kind else ""
        problem = found.problem
    except (ValueError, OSError) as error:
        problem = str(error)
    digest = ""
    if path.is_file():
        with _bytes_bar(f"hash of {path.name}") as on_bytes:
            digest = sha256_of(path, on_bytes)
    one, named = known_by_hash(digest), find_known(path.name)
    known = f"{one.name}, by its hash" if one else ""
    if one is None and named is not None:
        known = f"{named.name} by its name; the published hash is not known"
        if named.sha256:
            known = f"none: it has the name of {named.name} and another hash"
            problem = problem or f"{path} is not the {named.file} that was published: {named.page} has that"
    complete = f"no: {problem}" if problem else "yes"
    return {"file": str(path), "kind": kind, "complete": complete, "known": known, "sha256": digest}


@contextmanager
def _bytes_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told bytes so far, of so many (0: unknown); none where nobody looks."""
    from tqdm import tqdm

    with tqdm(desc=title, unit="B", unit_scale=True, disable=None) as bar:

        def on_bytes(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield on_bytes


def _fetch(options: argparse.Namespace) -> int:
    one = find_known(options.name)
    if one is None:
        raise ValueError(
            f"no published file is called {options.name}{nearest(options.name, [k.name for k in KNOWN])}"
        )
    folder = Path(options.folder) if options.folder else weights.folders()[0]
    if folder == weights.SHIPPED:
        raise ValueError(
            f"where shall {one.file} go? Give --folder, or name a folder in the environment's PRIORSR_MODELS"
        )
    if one.commercial != "yes":
        log.warning("%s: %s; commercial use: %s (%s)", one.file, one.licence, one.commercial, one.page)
    with _bytes_bar(one.file) as on_bytes:
        path, digests = fetch(one, folder, options.address, on_bytes)
    compared = all(part.sha256 for part in one.parts or (one,))
    if options.json:
        told = {"file": str(path), "sha256": "" if one.parts else digests[one.file], "compared": compared}
        print(json.dumps(told | ({"parts": digests} if one.parts else {})))
    else:
        names = {file: f"  {file}" if one.parts else "" for file in digests}
        lines = [f"sha256 {digest}{names[file]}" for file, digest in digests.items()]
        print("\n".join([str(path), *lines]) + ("" if compared else " (no published hash to compare with)"))
    if one.folder != PRIORSR:
        log.info("in ComfyUI this belongs into models/%s", one.folder)
    return 0


def list_models(options: argparse.Namespace) -> int:
    rows = [_row(path) for path in weights.installed()]
    ready = {row["name"] for row in rows if row["state"] == "ready"}
    rows += [_missing(name) for name in SRCNN if name not in ready]
    if options.json:
        print(json.dumps(rows))
        return 0
    _table([[row[key] for key in SHOWN] for row in rows], SHOWN)
    kinds: dict[tuple, set[str]] = {}
    for row in (row for row in rows if row["kind"]):
        kinds.setdefault((row["kind"], row["title"], row["use"]), set()).add(str(row["licence"]))
    print()
    told = [(*kind, " / ".join(sorted(licences))) for kind, licences in sorted(kinds.items())]
    _table(told, ("kind", "title", "use", "licences of its files"))
    return 0


def _row(path: Path) -> dict[str, object]:
    """What the header of a file says; a file that cannot be used gets the reason as its state."""
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row.update({"name": path.stem, "parts": [], "path": str(path)})
    try:
        row["size"] = _size(_bytes(path))
        whole = False
        if path.parent == weights.SHIPPED:
            row["sha256"] = digest = sha256_of(path)
            whole = f"{digest}  {path.name}" in _sums()
        found = weights.describe(path, whole)
    except (ValueError, OSError) as error:
        return {**row, "state": str(error)}
    if found.kind is not None:
        row.update(
            kind=found.kind.id,
            title=found.kind.title,
            use=found.kind.use,
            parts=[part.id for part in found.parts],
        )
    row.update(licence=found.licence, scale=found.scale or "", dtype=found.dtype)
    row["terms"] = next((word for word in TERMS if word in str(found.licence).lower()), "")
    return {**row, "state": found.problem or "ready"}


@lru_cache(1)
def _sums() -> frozenset[str]:
    """What the shipped files are known by: lines of a digest and a name."""
    path = weights.SHIPPED / "SHA256SUMS"
    return frozenset(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else frozenset()


def _missing(name: str) -> dict[str, object]:
    kind = next(kind for kind in weights.KINDS if kind.id == "srcnn")
    return {
        **dict.fromkeys(COLUMNS, ""),
        "name": name,
        "kind": kind.id,
        "title": kind.title,
        "use": kind.use,
        "licence": kind.licence,
        "parts": [],
        "scale": name[-1],
        "path": str(weights.SHIPPED),
        "state": "missing: reinstall PriorSR, or train it",
    }


def _bytes(path: Path) -> int:
    """The size of a file, or of all files of a folder and of those below it."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def _size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _table(rows: list, names: tuple[str, ...]) -> None:
    """Columns of text; what a console cannot print is replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    cells = [[str(v).encode(encoding, "replace").decode(encoding) for v in row] for row in [names, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


COMMANDS = (Command("models", _arguments, _run),)
