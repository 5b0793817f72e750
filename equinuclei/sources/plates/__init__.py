"""Plates on disk: one reader per vendor layout, all of which return the same kind of table."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from equinuclei.errors import InputError, check_known
from equinuclei.sources.checks import missing_path
from equinuclei.sources.images import read_image
from equinuclei.sources.plates import cellvoyager, harmony, metaxpress, plain, zarr_plate
from equinuclei.sources.plates.contents import Contents
from equinuclei.sources.plates.planes import PLANE_COLUMNS, PROJECTION, PlateSource
from equinuclei.sources.plates.selection import choose_channels, choose_planes

__all__ = [
    "LAYOUTS",
    "PLANE_COLUMNS",
    "PROJECTION",
    "PlateSource",
    "choose_channels",
    "choose_planes",
    "contents_of_plate",
    "find_plate_source",
    "read_plane",
]


class _Reader(NamedTuple):
    """A layout: `find` returns something true if a path has it, `read` reads it, and `looked_for` describes it."""

    find: Callable[[Path], object]
    read: Callable[[Path], PlateSource]
    looked_for: str


# In the order in which they are tried: layouts with an index before those that are recognised by file names.
_READERS = {
    "harmony": _Reader(harmony.find_harmony, harmony.read_harmony, harmony.LOOKED_FOR),
    "cellvoyager": _Reader(cellvoyager.find_cellvoyager, cellvoyager.read_cellvoyager, cellvoyager.LOOKED_FOR),
    "ome-zarr": _Reader(zarr_plate.find_zarr_plate, zarr_plate.read_zarr_plate, zarr_plate.LOOKED_FOR),
    "metaxpress": _Reader(metaxpress.find_metaxpress, metaxpress.read_metaxpress, metaxpress.LOOKED_FOR),
    "table": _Reader(plain.find_table, plain.read_plate_table, plain.TABLE_LOOKED_FOR),
    "folder": _Reader(plain.find_images, plain.read_image_folder, plain.FOLDER_LOOKED_FOR),
}
LAYOUTS = tuple(_READERS)


def find_plate_source(path: str | Path, layout: str | None = None) -> PlateSource:
    """List the planes of a plate, without reading pixels.

    Parameters
    ----------
    path
        Folder of the plate as the instrument wrote it, its index file, or a table of planes.
    layout
        One of `LAYOUTS`; None: the first that matches.

    Returns
    -------
    PlateSource

    Raises
    ------
    InputError
        If the path does not exist, no layout matches (the message lists what was looked for), or the plate cannot be
        read; see the readers.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise InputError(missing_path(path, "plate"))
    if layout is not None:
        check_known("plate layout", layout, LAYOUTS)
        return _READERS[layout].read(path)
    for reader in _READERS.values():
        if reader.find(path):
            return reader.read(path)
    lines = [f"{path}: no plate that can be read. Looked for:"]
    lines += [f"  - {name}: {reader.looked_for}" for name, reader in _READERS.items()]
    raise InputError("\n".join(lines))


def contents_of_plate(folder: str | Path, layout: str | None = None) -> Contents:
    """What the folder of a plate contains, for the inbox. Raises InputError as `find_plate_source` does."""
    return Contents.of(find_plate_source(folder, layout))


def read_plane(path: str | Path, page: int = 0) -> np.ndarray:
    """Pixels (y, x) of a plane, in their stored dtype.

    `path` and `page` are those of `PlateSource.planes`. Raises InputError as `sources.images.read_image` does.
    """
    if Path(path).is_dir():
        return zarr_plate.read_zarr_plane(path, page)
    return read_image(path, page)
