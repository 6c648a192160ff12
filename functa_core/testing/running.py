"""All checks, and running them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from functa_core.errors import UserError, nearest
from functa_core.testing import comparisons, data, entry, numbers, output, tasks, training
from functa_core.testing.check import Check, Inapplicable, Nonconformity, NotReady, located
from functa_core.testing.subject import Subject

_FUNCTIONS = (
    entry.entry_point,
    entry.light_import,
    tasks.tasks,
    data.config,
    data.data,
    data.offline,
    data.state,
    data.spec,
    data.domain,
    data.sampling,
    data.random_state,
    data.masks,
    numbers.weight_zero,
    numbers.chunks,
    numbers.batch,
    numbers.loss,
    training.first_derivatives,
    training.second_derivatives,
    training.training,
    output.metrics,
    comparisons.raw,
    comparisons.codec,
    comparisons.features,
    output.save_load,
    output.render,
)
CHECKS: dict[str, Check] = {check.name: check for check in map(Check.of, _FUNCTIONS)}
"""Every check by its name, in the order in which they build on each other."""


@attrs.frozen
class Result:
    """What became of one check.

    Attributes:
        name: of the check.
        summary: what it promises.
        state: "expected" is a failure that was announced with a reason; "skipped" means that there
            was nothing to look at, or that another check's finding is in the way.
        message: why, empty if it passed.
    """

    name: str
    summary: str
    state: Literal["passed", "failed", "expected", "skipped"]
    message: str


def run_checks(
    subject: Subject, expected_failures: Mapping[str, str] | None = None
) -> list[Result]:
    """Examine a modality.

    Args:
        subject: what is examined.
        expected_failures: names of checks that will fail, each with a reason. One that passes all
            the same is reported as failed: its entry is to be removed.

    Raises:
        UserError: a name that no check has.
    """
    expected = dict(expected_failures or {})
    refuse_unknown(expected)
    return [run_check(subject, check, expected.get(name)) for name, check in CHECKS.items()]


def run_check(subject: Subject, check: Check, expected: str | None = None) -> Result:
    """Run one check; `expected` is the reason for which it will fail, or None."""
    try:
        check.run(subject)
    except Inapplicable as reason:
        return Result(check.name, check.summary, "skipped", f"{reason}.")
    except NotReady as error:
        if error.check != check.name:
            message = f"Not examined, because the check '{error.check}' fails."
            return Result(check.name, check.summary, "skipped", message)
        found = str(error)
    except Nonconformity as error:
        found = str(error)
    except (Exception, SystemExit) as error:  # a plugin must not end the examination
        found = located(error)
    else:
        if expected is None:
            return Result(check.name, check.summary, "passed", "")
        message = f"It was expected to fail ({expected}) and passes. Remove the expectation."
        return Result(check.name, check.summary, "failed", message)
    if expected is None:
        return Result(check.name, check.summary, "failed", found)
    return Result(check.name, check.summary, "expected", f"{expected}: {found}")


def refuse_unknown(names: Mapping[str, str]) -> None:
    """Raise a `UserError` for an expected failure of a check that does not exist."""
    for name in names:
        if name not in CHECKS:
            raise UserError(f"there is no conformance check '{name}'.{nearest(name, CHECKS)}")
