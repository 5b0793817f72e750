"""A simulated data set of all cell lines on disk."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.checksums import digest
from equinuclei.errors import InputError, check_known
from equinuclei.images.tiff import write_tiff
from equinuclei.runtime.files import make_folder
from equinuclei.simulation.cell_lines import CELL_LINES
from equinuclei.simulation.fields import check_seed, check_size, simulate_field

MODALITIES = ("fluorescence", "brightfield")
MASK_KINDS = ("three_class", "instances")
COLUMNS = ("image_id", "cell_line", "modality", "image", "mask", "group")

Task = tuple[str, int]
"""Cell line and number, from 1, of a field."""
Rows = list[dict[str, str]]
"""Rows of the table."""


def simulate_dataset(
    folder: str | Path,
    *,
    fields_per_cell_line: int,
    height: int,
    width: int,
    seed: int,
    mask: str = "three_class",
    processes: int = 1,
    scale: float = 1.0,
) -> Path:
    """Write a simulated data set of all cell lines; return the path of its table `images.tsv`.

    Images are `images/<image_id>_<modality>.tif` (uint16), masks `masks/<image_id>.tif` (uint8 three-class or uint16
    instances), shared by both modalities. The table has the columns `COLUMNS`, a row per field and modality, and
    relative paths. The folder appears when it is whole. Equal arguments give equal bytes, for any number of processes.

    With more than one process, the calling script needs the guard `if __name__ == "__main__":`, because each process
    imports that script.

    Parameters
    ----------
    folder
        Where to write: an empty folder, or one that is not there yet.
    fields_per_cell_line
        At least 1.
    height, width, scale
        As for `simulate_field`.
    seed
        Not negative. A field depends only on the seed, its cell line and its number, so a larger data set contains the
        smaller one.
    mask
        `three_class` or `instances`.
    processes
        How many fields are simulated at a time.

    Raises
    ------
    InputError
        If an argument is invalid, or there is something in the folder.
    """
    _check_count("fields_per_cell_line", fields_per_cell_line)
    _check_count("processes", processes)
    if not isinstance(seed, int | np.integer):
        raise InputError(f"seed: {seed!r} is not a whole number of 0 or more")
    check_seed(seed)
    check_size(height, width, scale)
    check_known("kind of mask", mask, MASK_KINDS)
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: there is something in this folder: give one that is empty, or is not there yet")
    write = partial(_write_field, seed=int(seed), height=height, width=width, mask=mask, scale=scale)
    tasks = [(line, number) for line in CELL_LINES for number in range(1, fields_per_cell_line + 1)]
    # Not in the folder itself: if this process is killed, those that it started go on for a while, and a folder that
    # they make again would pass for the data set.
    key = digest([fields_per_cell_line, height, width, int(seed), mask, scale])
    make_folder(folder, key, partial(_write_all, write=write, tasks=tasks, processes=processes))
    return folder / "images.tsv"


def _write_all(folder: Path, *, write: Callable[..., Rows], tasks: list[Task], processes: int) -> None:
    """Write all fields with `write(task, folder=folder)`, and their table."""
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    written = _map(partial(write, folder=folder), tasks, processes)
    table = pd.DataFrame([row for rows in written for row in rows], columns=list(COLUMNS))
    table.to_csv(folder / "images.tsv", sep="\t", index=False, lineterminator="\n")


def _map(write: Callable[[Task], Rows], tasks: list[Task], processes: int) -> list[Rows]:
    if processes == 1:
        return [write(task) for task in tasks]
    # "spawn" and not "fork": the caller may have threads (dask, torch), which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
        return list(pool.map(write, tasks))


def _write_field(task: Task, *, folder: Path, seed: int, height: int, width: int, mask: str, scale: float) -> Rows:
    """Simulate and write one field, (cell line, number); return its rows of the table."""
    cell_line, number = task
    image_id = f"{cell_line}_{number:04d}"
    seeds = [seed, list(CELL_LINES).index(cell_line), number - 1]
    simulated = simulate_field(cell_line, seeds, height, width, scale=scale)
    mask_name = f"masks/{image_id}.tif"
    write_tiff(folder / mask_name, getattr(simulated, mask), compression="zlib")
    rows = []
    for modality in MODALITIES:
        image_name = f"images/{image_id}_{modality}.tif"
        write_tiff(folder / image_name, simulated.images[modality])
        rows.append(dict(zip(COLUMNS, (image_id, cell_line, modality, image_name, mask_name, image_id), strict=True)))
    return rows


def _check_count(name: str, count: int) -> None:
    if not isinstance(count, int | np.integer) or count < 1:
        raise InputError(f"{name}: {count!r} is not a whole number of 1 or more")
