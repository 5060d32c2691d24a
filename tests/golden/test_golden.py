"""Every golden case against the package; a kind without an adapter is an expected failure by name."""

from __future__ import annotations

import adapters  # noqa: F401 (fills the register)
import pytest
from golden_cases import ADAPTERS, Case, cases, label


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
