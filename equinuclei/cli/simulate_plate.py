"""`equinuclei simulate-plate`: a plate in the layout of PerkinElmer's Harmony, with its truth."""

import argparse
from pathlib import Path

from equinuclei.errors import check_known
from equinuclei.wells import well_name

DESCRIPTION = "Simulate a plate as a microscope writes it (Harmony; DAPI and brightfield), to try things on.\n"

EPILOG = "example: equinuclei simulate-plate inbox/SIM001 truth/SIM001 --wells 96 --fields 4 --size 512"

SHAPES = {6: (2, 3), 24: (4, 6), 96: (8, 12), 384: (16, 24)}
"""Number of wells -> rows and columns of the plate."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("folder", type=Path, help="the export to make, in an inbox")
    parser.add_argument("truth", type=Path, help="folder for the true labels of every well (outside of the inbox)")
    parser.add_argument("--wells", type=int, default=96, choices=SHAPES, help="of the plate, all of them imaged")
    parser.add_argument("--fields", type=int, default=4, help="per well: a square number (default: 4)")
    parser.add_argument("--size", type=int, default=512, help="edge of a field in pixels (default: 512)")
    parser.add_argument("--cell-line", default="HeLa", help="one of those that can be simulated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    """Write the plate, and the truth beside it. Returns the exit status."""
    # Not at the top: `--help` need not wait for the libraries of the simulation.
    from equinuclei.simulation.cell_lines import CELL_LINES
    from equinuclei.simulation.plates import simulate_plate

    check_known("cell line", arguments.cell_line, CELL_LINES)
    rows, columns = SHAPES[arguments.wells]
    simulate_plate(
        arguments.folder,
        arguments.truth,
        barcode=arguments.folder.name,
        wells=[well_name(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)],
        fields=arguments.fields,
        size=arguments.size,
        seed=arguments.seed,
        cell_line=arguments.cell_line,
        processes=arguments.processes,
    )
    return 0
