"""Tell whether the results of a data set are those of the recorded inputs and code: see `--help`."""

import argparse
import sys
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.manifest import check_provenance


def main() -> int:
    """Print what differs, and the count of all. The exit status is 1 if anything differs or is missing."""
    parser = argparse.ArgumentParser(
        prog="check_run.py",
        description="Compare the results of a data set with their record, tables/provenance.json: files, stores, "
        "the code that made them, and the images and masks they come from.",
    )
    parser.add_argument("folder", type=Path, help="results of one data set, such as results/demo")
    parser.add_argument("--fast", action="store_true", help="do not read the pixels of stores and source")
    arguments = parser.parse_args()
    counts: dict[str, int] = {}
    try:
        for verdict, what, why in check_provenance(arguments.folder, Path(__file__).parent, fast=arguments.fast):
            counts[verdict] = counts.get(verdict, 0) + 1
            if verdict != "ok":
                print(f"{verdict:10}{what}: {why}")
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    wrong = counts.get("differs", 0) + counts.get("missing", 0)
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(f"{arguments.folder}: {total}. {'NOT the recorded run' if wrong else 'This is the recorded run'}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
