"""`equinuclei check`: whether the results of a data set are those of the recorded inputs and code."""

import argparse
from pathlib import Path

from equinuclei.runtime.printable import printable

DESCRIPTION = """\
Compare the results of a data set with their record, tables/provenance.json: files, stores, the code that made them, and
the images and masks they come from. The exit status is 1 if anything differs or is missing.
"""

EPILOG = "example: equinuclei check results/demo"

CHECKOUT = Path(__file__).resolve().parents[2]
"""The project, where this package lies in a checkout of it: the rules' scripts are not installed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("folder", type=Path, help="results of one data set, such as results/demo")
    parser.add_argument("--fast", action="store_true", help="do not read the pixels of stores and source")


def run(arguments: argparse.Namespace) -> int:
    """Print what differs, and the count of all. Returns the exit status."""
    from equinuclei.analysis.manifest import check_provenance

    counts: dict[str, int] = {}
    for verdict, what, why in check_provenance(arguments.folder, CHECKOUT, fast=arguments.fast):
        counts[verdict] = counts.get(verdict, 0) + 1
        if verdict != "ok":
            print(printable(f"{verdict:10}{what}: {why}"))
    wrong = counts.get("differs", 0) + counts.get("missing", 0)
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(f"{arguments.folder}: {total}. {'NOT the recorded run' if wrong else 'This is the recorded run'}.")
    return 1 if wrong else 0
