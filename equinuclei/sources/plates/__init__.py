"""Plates on disk, one reader per vendor layout; every reader returns the same table of planes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from equinuclei.errors import InputError, check_known
from equinuclei.sources.checks import missing_path
from equinuclei.sources.images import read_image
from equinuclei.sources.plates import cellvoyager, harmony, metaxpress, plain, zarr_plate
from equinuclei.sources.plates.contents import Contents
from equinuclei.sources.plates.planes import PLANE_COLUMNS, PROJECTION, PlateSource, choose_channels, choose_planes

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

_Find, _Read = Callable[[Path], object], Callable[[Path], PlateSource]

# In the order in which they are looked for: a layout with an index of its own before those that guess from names.
_READERS: dict[str, tuple[_Find, _Read, str]] = {
    "harmony": (harmony.find_harmony, harmony.read_harmony, harmony.LOOKED_FOR),
    "cellvoyager": (cellvoyager.find_cellvoyager, cellvoyager.read_cellvoyager, cellvoyager.LOOKED_FOR),
    "ome-zarr": (zarr_plate.find_zarr_plate, zarr_plate.read_zarr_plate, zarr_plate.LOOKED_FOR),
    "metaxpress": (metaxpress.find_metaxpress, metaxpress.read_metaxpress, metaxpress.LOOKED_FOR),
    "table": (plain.find_table, plain.read_plate_table, plain.TABLE_LOOKED_FOR),
    "folder": (plain.find_images, plain.read_image_folder, plain.FOLDER_LOOKED_FOR),
}
LAYOUTS = tuple(_READERS)


def find_plate_source(path: str | Path, layout: str | None = None) -> PlateSource:
    """Read what a plate consists of; no pixel is read.

    Parameters
    ----------
    path
        Folder of the plate as the instrument left it, its index file, or a table of planes.
    layout
        One of `LAYOUTS`; None: the first that fits.

    Returns
    -------
    PlateSource

    Raises
    ------
    InputError
        If the path is not there, no layout fits (the message lists what was looked for), or what was found cannot be
        used: see the readers.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise InputError(missing_path(path, "plate") + ".")
    if layout is not None:
        check_known("plate layout", layout, LAYOUTS)
        return _READERS[layout][1](path)
    for find, read, _ in _READERS.values():
        if find(path):
            return read(path)
    lines = [f"{path}: no plate that can be read. Looked for:"]
    lines += [f"  - {name}: {looked_for}" for name, (_, _, looked_for) in _READERS.items()]
    raise InputError("\n".join(lines))


def contents_of_plate(folder: str | Path, layout: str | None = None) -> Contents:
    """What the folder of a plate holds, for the inbox. Raises InputError if no layout fits, or not `layout`."""
    source = find_plate_source(folder, layout)
    listed = tuple(Path(path) for path in source.planes["path"].unique())
    barcode = str(source.metadata.get("barcode") or source.name)
    return Contents(barcode, str(source.metadata.get("measurement") or ""), source.layout, listed)


def read_plane(path: str | Path, page: int = 0) -> np.ndarray:
    """Pixels of a plane, (y, x), of the dtype in which they are stored.

    `path` and `page` are those of `PlateSource.planes`. For the errors raised see
    `equinuclei.sources.images.read_image`.
    """
    if Path(path).is_dir():
        return zarr_plate.read_zarr_plane(path, page)
    return read_image(path, page)
