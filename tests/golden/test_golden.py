"""Every golden case against the package, through adapters/; a kind without an adapter is an expected failure
by name.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from golden_cases import ADAPTERS, Case, cases, label

for path in sorted((Path(__file__).parent / "adapters").glob("*_adapter.py")):
    importlib.import_module(path.stem)  # each fills the register


@pytest.mark.parametrize("case", cases(), ids=label)
def test_golden(case: Case, golden_table):
    run = ADAPTERS.get((case.system, case.kind))
    if run is None:
        golden_table.add(case.system, "not implemented")
        pytest.xfail(f"{case.system}/{case.kind} (not implemented)")
    golden_table.add(case.system, "failed")
    case.check(run(case))
    golden_table.replace(case.system, "failed", "passed")


def test_cases_are_found():
    assert len(cases()) > 100
