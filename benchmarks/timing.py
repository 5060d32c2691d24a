"""How the benchmarks take their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def fastest(runs: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """CPU seconds of the fastest run of each, taken in turn."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(repeat + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            found[name] = min(found[name], time.process_time() - start)
    return found


def alternating(runs: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median CPU seconds of each, in turn and in changing order, after one run of each that does not
    count.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(repeat + 1):
        for name in sorted(runs, reverse=bool(i % 2)):
            start = time.process_time()
            runs[name]()
            if i:
                found[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}
