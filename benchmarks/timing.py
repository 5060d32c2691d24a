"""How the benchmarks take their times."""

from __future__ import annotations

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
