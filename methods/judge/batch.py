"""A batch of results judged that lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..imaging.datasets import FILE
from ..metrics.compare import paired
from .figures import chosen
from .pairs import Failure
from .picture import EMBEDDING, PictureJudge
from .protocol import Protocol
from .record import Record
from .sets import Sets, each

FOLDERS = ("fid", "kid")  # of sets whose pictures are files
ForEach = Callable[[Callable[[int], Any], int], Sequence[Any]]


def judge_images(
    results: Tensor,
    truth: Tensor | None = None,
    inputs: Tensor | None = None,
    reference: Tensor | None = None,
    protocol: Protocol = Protocol(),
    device: torch.device | str = "cpu",
    for_each: ForEach = lambda work, count: [work(i) for i in range(count)],
) -> Record:
    """Every figure that can be computed of results B C H W in 0..1.

    truth: as many or one for all; inputs: what they were made from, likewise, B C h w; reference: other
    pictures of the kind, for distances of sets, of any size. Raises ValueError for sizes or numbers that
    differ.
    """
    protocol.check()
    if truth is not None:
        results, truth = paired(results, truth)
    if inputs is not None and len(inputs) not in (1, len(results)):
        raise ValueError(
            f"{len(inputs)} inputs do not pair with {len(results)} results: give as many, or one"
        )
    there = {"truth": truth is not None, "inputs": inputs is not None, "faces": protocol.faces != "off"}
    there["set"] = truth is not None or reference is not None
    figures, lacking = chosen((), frozenset(name for name, given in there.items() if given))
    lacking |= dict.fromkeys(FOLDERS, "needs folders: priorsr judge")
    figures = [one for one in figures if one.name not in FOLDERS]
    one = PictureJudge(protocol, figures, torch.device(device))

    def work(i: int) -> tuple[dict, str]:
        return one.measure(results[i : i + 1], _of(truth, i), _of(inputs, i))

    done = list(for_each(work, len(results)))
    failures = [Failure(f"image {i + 1}", problem) for i, (_, problem) in enumerate(done) if problem]
    pictures = [{FILE: str(i + 1), **row} for i, (row, _) in enumerate(done)]
    others: list[tuple[str, Path]] = []
    rows: dict[str, dict] = {}
    if one.faces and reference is not None:
        seen = for_each(lambda i: one.shown(reference[i : i + 1]), len(reference))
        for i, (vector, problem) in enumerate(seen):
            others.append((str(i), Path()))
            rows[f"reference {i}"] = {} if vector is None else {EMBEDDING: vector}
            failures += [Failure(f"reference {i + 1}", problem)] if problem else []
    found = each(figures, pictures, 0, failures, lacking, False)
    found |= Sets(reference is not None, 0, pictures, rows, others, [], {}, failures).frechet(figures)
    shown = [{k: v for k, v in row.items() if not k.endswith(EMBEDDING)} for row in pictures]
    return Record("images", protocol.described(), {}, found, lacking, failures, shown)


def _of(x: Tensor | None, i: int) -> Tensor | None:
    return None if x is None else x[i : i + 1] if len(x) > 1 else x
