"""Shared fixtures, and the golden table at the end of a run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Results are compared, also with those of other processes: precision `auto` is float32 in all of them,
# whatever this processor is fast at.
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("passed", "failed", "not implemented")


class GoldenTable:
    """How many golden cases of each system passed, failed, or wait for an implementation."""

    def __init__(self):
        self.counts: dict[str, Counter] = {}

    def add(self, system: str, column: str) -> None:
        self.counts.setdefault(system, Counter())[column] += 1

    def replace(self, system: str, column: str, by: str) -> None:
        self.counts[system][column] -= 1
        self.add(system, by)


TABLE = GoldenTable()


@pytest.fixture
def golden_table() -> GoldenTable:
    return TABLE


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def photo() -> torch.Tensor:
    """A smooth synthetic RGB picture with edges, 1 3 53 71 in 0..1."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 53), torch.linspace(0, 1, 71), indexing="ij")
    waves = torch.stack([torch.sin(9 * x + 2 * y), torch.cos(7 * y - x), torch.sin(6 * x * y)]) * 0.25 + 0.5
    edges = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09).float() * 0.3
    return (waves + edges).clamp(0, 1)[None]


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory) -> Iterator[None]:
    """What tests learn about this machine stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_terminal_summary(terminalreporter) -> None:
    if not TABLE.counts:
        return
    terminalreporter.section("golden cases")
    terminalreporter.write_line(f"{'system':<12}" + "".join(f"{c:>17}" for c in COLUMNS))
    for system, counts in sorted(TABLE.counts.items()):
        terminalreporter.write_line(f"{system:<12}" + "".join(f"{counts[c]:>17}" for c in COLUMNS))


def pytest_collection_modifyitems(items) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
