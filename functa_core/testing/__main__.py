"""`python -m functa_core.testing NAME`: examine one installed modality in this process.

Exit code 0: no check failed; 1: some did; 2: the modality cannot be found, or an option is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from functa_core.discovery.installed import find
from functa_core.errors import UserError
from functa_core.files import write_atomic
from functa_core.runs.config import parse_assignments
from functa_core.testing.running import run_checks
from functa_core.testing.subject import Subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each check, or write a list of results as JSON."""
    parser = argparse.ArgumentParser(prog="python -m functa_core.testing", description=__doc__)
    parser.add_argument("name", help="what --modality takes")
    parser.add_argument("--data", type=Path, help="file or folder; the embedded set without it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option: modality.x=1"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results there instead")
    given = parser.parse_args(arguments)
    try:
        find(given.name)
        results = run_checks(_subject(given))
    except UserError as error:
        print(f"functa: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        write_atomic(given.json, json.dumps([attrs.asdict(r) for r in results], indent=2))
    else:
        for result in results:
            print(f"{result.state:<8} {result.name:<18} {result.message or result.summary}")
    return int(any(result.state == "failed" for result in results))


def _subject(given: argparse.Namespace) -> Subject:
    tree = parse_assignments(given.set)
    options = tree.pop("modality", {})
    if tree:
        raise UserError(f"--set takes modality.key=value here, got '{next(iter(tree))}'.")
    if given.data is not None and not given.data.exists():
        raise UserError(f"there is no file or folder {given.data}.")
    return Subject(given.name, options, given.data)


if __name__ == "__main__":
    sys.exit(main())
