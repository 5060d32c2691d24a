"""What a run on files tells: a bar, failures as they come, counts, JSON, the exit code."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .folder import Outcome

log = logging.getLogger("priorsr")


class Tally:
    """Hears of every file of a run; total: how many there will be, None where that is not known yet."""

    def __init__(self, options: argparse.Namespace, total: int | None, single: bool = False):
        from tqdm import tqdm

        self.options, self.single = options, single
        self.counts: Counter[str] = Counter()
        self.outcomes: list[Outcome] = []
        self.bar = tqdm(total=total, unit="file", disable=single or None)

    def add(self, outcome: Outcome, counted: bool = True) -> None:
        """One file has ended; counted: whether the bar moves."""
        self.counts[outcome.status] += 1
        if counted:
            self.bar.update()
        if outcome.status == "failed":
            log.error("failed: %s", outcome.message)
        elif self.single and outcome.target:
            log.info("wrote %s (%.2f s)", outcome.target, outcome.seconds)
        if self.options.json_lines:
            print(json.dumps(vars(outcome)), flush=True)
        if self.options.json:
            self.outcomes.append(outcome)

    def finish(self, passed_over: Iterable[Path | str]) -> int:
        """Tell the counts; the exit code."""
        self.bar.close()
        counts = {status: self.counts[status] for status in ("written", "skipped", "failed")}
        if not self.single:
            log.info("%d written, %d skipped because they exist, %d failed", *counts.values())
        summary = {**counts, "passed_over": [str(p) for p in passed_over]}
        if self.options.json_lines:
            print(json.dumps(summary), flush=True)
        if self.options.json:
            print(json.dumps({**summary, "files": [vars(o) for o in self.outcomes]}))
        return 1 if counts["failed"] else 0
