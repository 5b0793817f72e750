"""Simulate a plate in the layout of PerkinElmer's Harmony, with its truth: see `--help`."""

import argparse
import sys
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.simulate import CELL_LINES
from equinuclei.simulated_plate import simulate_plate
from equinuclei.sources.plates import well_name

SHAPES = {6: (2, 3), 24: (4, 6), 96: (8, 12), 384: (16, 24)}


def main() -> int:
    """Write the plate, and the truth beside it."""
    parser = argparse.ArgumentParser(
        prog="simulate_plate.py",
        description="Simulate a plate as a microscope writes it (Harmony; DAPI and brightfield), to try things on.",
        epilog="example: simulate_plate.py inbox/SIM001 truth/SIM001 --wells 96 --fields 4 --size 512",
    )
    parser.add_argument("folder", type=Path, help="the export to make, in an inbox")
    parser.add_argument("truth", type=Path, help="folder for the true labels of every well (outside of the inbox)")
    parser.add_argument("--wells", type=int, default=96, choices=SHAPES, help="of the plate, all of them imaged")
    parser.add_argument("--fields", type=int, default=4, help="per well: a square number (default: 4)")
    parser.add_argument("--size", type=int, default=512, help="edge of a field in pixels (default: 512)")
    parser.add_argument("--cell-line", default="HeLa", choices=CELL_LINES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    rows, columns = SHAPES[arguments.wells]
    try:
        simulate_plate(
            arguments.folder, arguments.truth, barcode=arguments.folder.name,
            wells=[well_name(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)],
            fields=arguments.fields, size=arguments.size, seed=arguments.seed, cell_line=arguments.cell_line,
            processes=arguments.processes,
        )  # fmt: skip
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
