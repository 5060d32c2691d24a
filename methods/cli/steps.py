"""The steps of a picture: a bar on a terminal, or lines of JSON for a process that shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STEPS = "PRIORSR_STEPS"  # in the environment of a process whose steps another one shows
Show = Callable[[int, int], None]


@contextmanager
def shown(unit: str) -> Iterator[Show]:
    """show(done, all) for as long as the block lasts."""
    if STEPS in os.environ:
        yield _told
        return
    from tqdm import tqdm

    with tqdm(total=0, unit=unit, leave=False, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _told(done: int, total: int) -> None:
    print(json.dumps({"done": done, "of": total}), flush=True)
