"""Layout "ome-zarr": an OME-Zarr HCS plate, NGFF 0.4 or 0.5, written by other software."""

import math
from pathlib import Path

import numpy as np
import zarr

from equinuclei.errors import InputError
from equinuclei.sources.plates.planes import PlateSource, make_planes, to_float, unique_names
from equinuclei.wells import parse_well, well_name

LOOKED_FOR = "an OME-Zarr plate (zarr.json or .zattrs with 'plate')"

_UNITS = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
# Errors that zarr raises for damaged or missing metadata or chunks.
_READER_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError)


def find_zarr_plate(path: Path) -> bool:
    """Whether an OME-Zarr plate lies at `path`."""
    try:
        return path.is_dir() and "plate" in _attributes(path)
    except InputError:
        return False


def read_zarr_plate(path: Path) -> PlateSource:
    """Read an OME-Zarr plate (see `equinuclei.sources.plates.find_plate_source`).

    Each image of a well is one field, numbered from 1 in the order of the well's list. The path of a plane is the
    folder of the array with full resolution; its page counts planes over the axes before y and x, in array order.
    Positions come from the coordinate transformations of the image. An image without translation is at (0, 0) if it is
    the only one of its well; otherwise its position is unknown.

    Raises
    ------
    InputError
        If there is no plate, or its metadata is damaged.
    """
    plate = _attributes(path).get("plate") if find_zarr_plate(path) else None
    if not isinstance(plate, dict):
        raise InputError(f"{path}: no OME-Zarr plate: looked for {LOOKED_FOR}")
    rows: list[dict] = []
    try:
        for well in plate["wells"]:
            row, column = str(well["path"]).split("/")
            name = well_name(*parse_well(f"{row}{column}"))
            folder = _below(path, well["path"])
            images = _images(folder)
            for number, image in enumerate(images, 1):
                rows += _image_rows(image, name, number, len(images) == 1)
    except InputError:
        raise
    except _READER_ERRORS as error:
        raise InputError(f"{path}: its metadata cannot be used ({type(error).__name__}: {error})") from error
    name = str(plate.get("name") or path.absolute().name.removesuffix(".zarr"))
    metadata = {"barcode": name, "rows": len(plate.get("rows", [])), "columns": len(plate.get("columns", []))}
    acquisitions = [str(one.get("name", one.get("id"))) for one in plate.get("acquisitions", [])]
    return PlateSource(name, "ome-zarr", make_planes(rows, path), {**metadata, "acquisitions": acquisitions})


def read_zarr_plane(path: str | Path, page: int) -> np.ndarray:
    """A plane (y, x) of an array; `page` counts over its leading axes.

    Raises
    ------
    InputError
        If the array or the plane cannot be read.
    """
    try:
        array = zarr.open_array(Path(path), mode="r")
        index = np.unravel_index(page, array.shape[:-2]) if array.ndim > 2 else ()
        return np.ascontiguousarray(array[tuple(map(int, index))])
    except _READER_ERRORS as error:
        raise InputError(f"{path}: plane {page} cannot be read: {error}") from error


def _attributes(folder: Path) -> dict:
    try:
        attributes = zarr.open_group(folder, mode="r").attrs.asdict()
    except _READER_ERRORS as error:
        raise InputError(f"{folder}: no Zarr group: {error}") from error
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, dict):
        raise InputError(f"{folder}: its metadata 'ome' is not a JSON object")
    return ome


def _images(well: Path) -> list[Path]:
    """Folders of a well's images: those that its metadata lists, or all existing ones if it has no list."""
    listed = _attributes(well).get("well")
    if listed is not None:
        return [_below(well, str(image["path"])) for image in listed["images"]]
    found = sorted(child for child in well.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [child for child in found if "multiscales" in _attributes(child)]


def _below(folder: Path, name: str) -> Path:
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{folder}: lists {name!r}, which is not in the plate: its metadata is damaged")
    return folder.joinpath(*name.split("/"))


def _image_rows(folder: Path, well: str, number: int, alone: bool) -> list[dict]:
    attributes = _attributes(folder)
    multiscale = attributes["multiscales"][0]
    dataset = multiscale["datasets"][0]
    path = _below(folder, str(dataset["path"]))
    array = zarr.open_array(path, mode="r")
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in multiscale["axes"]]
    if names[-2:] != ["y", "x"] or len(names) != array.ndim:
        raise InputError(f"{folder}: axes {names} of an array {array.shape}: the last two must be y and x")
    scale, translation = np.ones(array.ndim), np.zeros(array.ndim)
    translated = False
    for step in (*dataset.get("coordinateTransformations", []), *multiscale.get("coordinateTransformations", [])):
        if step["type"] == "scale":
            scale, translation = scale * step["scale"], translation * step["scale"]
        elif step["type"] == "translation":
            translation, translated = translation + step["translation"], True
    # Without a unit, the scale does not tell the pixel size.
    unit = multiscale["axes"][-1].get("unit", "") if isinstance(multiscale["axes"][-1], dict) else ""
    micrometres = _UNITS.get(unit, math.nan)
    count = array.shape[names.index("c")] if "c" in names else 1
    listed = (attributes.get("omero") or {}).get("channels") or []
    labels = {c: str((listed[c] if c < len(listed) else {}).get("label", "")) for c in range(count)}
    labels = unique_names(labels)
    rows = []
    for page, index in enumerate(np.ndindex(*array.shape[:-2])):
        at = dict(zip(names, index, strict=False))
        channel = at.get("c", 0)
        rows.append(
            {
                "well": well,
                "field": number,
                "channel": labels[channel],
                "wavelength": to_float((listed[channel] if channel < len(listed) else {}).get("emission_wavelength")),
                "z": at.get("z", 0),
                "t": at.get("t", 0),
                "path": str(path.absolute()),
                "page": page,
                "y": float(translation[-2]) * micrometres if translated else (0.0 if alone else math.nan),
                "x": float(translation[-1]) * micrometres if translated else (0.0 if alone else math.nan),
                "height": array.shape[-2],
                "width": array.shape[-1],
                "pixel_size": float(scale[-1]) * micrometres,
                "acquired": "",
            }
        )
    return rows
