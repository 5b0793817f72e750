"""Plates on disk: one reader per vendor layout, all of which return the same kind of table."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from equinuclei.errors import InputError, check_known
from equinuclei.file_names import PATTERN, READY_PATTERNS, name_pattern
from equinuclei.sources.checks import missing_path
from equinuclei.sources.images import read_image
from equinuclei.sources.plates import cellvoyager, columbus, harmony, metaxpress, patterns, plain, zarr_plate
from equinuclei.sources.plates.boundary import check_inside
from equinuclei.sources.plates.contents import Contents
from equinuclei.sources.plates.planes import NO_FILE, PLANE_COLUMNS, PROJECTION, PlateSource
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
    "layout_of_manifest",
    "read_plane",
]


class _Reader(NamedTuple):
    """A layout: `find` returns something true if a path has it, `read` reads it, and `looked_for` describes it."""

    find: Callable[[Path], object]
    read: Callable[[Path], PlateSource]
    looked_for: str


# In the order in which they are tried: layouts with an index, or a table that a person has written.
_READERS = {
    "harmony": _Reader(harmony.find_harmony, harmony.read_harmony, harmony.LOOKED_FOR),
    "columbus": _Reader(columbus.find_columbus, columbus.read_columbus, columbus.LOOKED_FOR),
    "cellvoyager": _Reader(cellvoyager.find_cellvoyager, cellvoyager.read_cellvoyager, cellvoyager.LOOKED_FOR),
    "ome-zarr": _Reader(zarr_plate.find_zarr_plate, zarr_plate.read_zarr_plate, zarr_plate.LOOKED_FOR),
    "metaxpress": _Reader(metaxpress.find_metaxpress, metaxpress.read_metaxpress, metaxpress.LOOKED_FOR),
    "table": _Reader(plain.find_table, plain.read_plate_table, plain.TABLE_LOOKED_FOR),
}
# After these, files whose names follow a ready pattern; and a folder of images only if nothing else can be meant.
LAYOUTS = (*_READERS, *READY_PATTERNS, plain.FOLDER)


def find_plate_source(path: str | Path, layout: str | Mapping[str, Any] | None = None) -> PlateSource:
    """List the planes of a plate, without reading pixels.

    Parameters
    ----------
    path
        Folder of the plate as the instrument wrote it, its index file, or a table of planes.
    layout
        One of `LAYOUTS`; a mapping that says how files are named (`equinuclei.file_names.name_pattern`); None: the
        first layout that matches.

    Returns
    -------
    PlateSource

    Raises
    ------
    InputError
        If the path does not exist, no layout matches (the message lists what was looked for), or the plate cannot be
        read; see the readers. Without a layout, also for a folder of images that may be more than single images
        (`equinuclei.sources.plates.plain.check_single_images`); and if the plate names files that lie elsewhere
        (`equinuclei.sources.plates.boundary`).
    UnavailableError
        If files of the plate cannot be read now.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise InputError(missing_path(path, "plate"))
    source = _read(path, layout)
    check_inside(source, path)
    return source


def _read(path: Path, layout: str | Mapping[str, Any] | None) -> PlateSource:
    """See `find_plate_source`."""
    if isinstance(layout, Mapping):
        return patterns.read_pattern(name_pattern(layout), path)
    if layout is not None:
        check_known("plate layout", layout, LAYOUTS)
        if layout in READY_PATTERNS:
            return patterns.read_ready_pattern(layout, path)
        return plain.read_image_folder(path) if layout == plain.FOLDER else _READERS[layout].read(path)
    for reader in _READERS.values():
        if reader.find(path):
            return reader.read(path)
    if (ready := patterns.find_ready_pattern(path)) is not None:
        return patterns.read_ready_pattern(ready, path)
    if plain.find_images(path):
        plain.check_single_images(path)
        return plain.read_image_folder(path)
    lines = [f"{path}: no plate that can be read. Looked for:"]
    lines += [f"  - {name}: {reader.looked_for}" for name, reader in _READERS.items()]
    lines += [f"  - {name}: {pattern.looked_for}" for name, pattern in READY_PATTERNS.items()]
    lines.append(f"  - {plain.FOLDER}: {plain.FOLDER_LOOKED_FOR}")
    lines.append("If files are named in another way, say how: `plates: {layout: {pattern: ...}}` (docs/plates.md)")
    raise InputError("\n".join(lines))


def layout_of_manifest(recorded: str, configured: str | Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
    """What `find_plate_source` needs to find a plate again that was found as the layout `recorded`.

    configured : `layout` of the configuration. Its mapping is used for the plates that were found with it: the name of
        their layout is not all that is to be known.

    Raises
    ------
    InputError
        If the plate was found by a pattern that the configuration no longer has.
    """
    if isinstance(configured, Mapping) and name_pattern(configured).layout == recorded:
        return configured
    if recorded == PATTERN:
        raise InputError(
            "the plate was found by a pattern of file names that the configuration no longer has: set "
            "`plates: {layout: {pattern: ...}}` again, or let the next tick of autorun.sh look at the inbox anew"
        )
    return recorded


def contents_of_plate(folder: str | Path, layout: str | Mapping[str, Any] | None = None) -> Contents:
    """What the folder of a plate contains, for the inbox. Raises InputError as `find_plate_source` does."""
    return Contents.of(find_plate_source(folder, layout))


def read_plane(path: str | Path, page: int = 0) -> np.ndarray:
    """Pixels (y, x) of a plane, in their stored dtype.

    `path` and `page` are those of `PlateSource.planes`. Raises InputError where there is no image, and as
    `sources.images.read_image` does.
    """
    if path == NO_FILE:
        raise InputError("the instrument recorded no image")
    if not Path(path).exists():
        raise InputError(f"{path}: is not there: was the plate copied whole?")
    if Path(path).is_dir():
        return zarr_plate.read_zarr_plane(path, page)
    return read_image(path, page)
