"""Each check finds a defect that no other finds."""

import sys

import pytest
from distributions import install
from mutants import MODULES, MUTANTS

from functa_core.testing import CHECKS, Subject, run_checks

SMALL = {"longest": 16, "points": 8}
OF_THE_ENTRY = {"entry-point", "light-import"}


def states(results):
    return {
        state: {result.name for result in results if result.state == state}
        for state in ("passed", "failed", "skipped", "expected")
    }


@pytest.mark.parametrize(("check", "mutant"), MUTANTS, ids=lambda x: getattr(x, "__name__", x))
def test_one_check_alone_finds_the_defect(check, mutant):
    results = run_checks(Subject(mutant, SMALL))
    found = states(results)
    why = [f"{result.name}: {result.message}" for result in results if result.state == "failed"]
    assert found["failed"] == {check}, why
    assert found["skipped"] == OF_THE_ENTRY


@pytest.mark.parametrize("number", range(len(MODULES)))
@pytest.mark.slow
def test_one_check_alone_finds_a_defect_of_the_entry_point(number, tmp_path, monkeypatch):
    check, text = MODULES[number]
    module = f"mutant{number}"
    install(tmp_path, "mutant", module, text)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        results = run_checks(Subject("mutant", SMALL))
    finally:
        sys.modules.pop(f"functa_{module}", None)
    assert states(results)["failed"] == {check}, results
    skipped = set(CHECKS) - OF_THE_ENTRY if check == "entry-point" else set()
    assert states(results)["skipped"] == skipped


def test_every_check_has_a_mutant():
    assert {check for check, _ in [*MUTANTS, *MODULES]} == set(CHECKS)
