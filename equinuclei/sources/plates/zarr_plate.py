"""Layout "ome-zarr": an OME-Zarr HCS plate, NGFF 0.4 or 0.5, written by other software."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr

from equinuclei.claims import check_claim
from equinuclei.errors import InputError, reading
from equinuclei.sources.plates.chunks import check_chunks, lost_chunks
from equinuclei.sources.plates.planes import PlateSource, make_planes, to_float, unique_names
from equinuclei.wells import parse_well, well_name

LOOKED_FOR = "an OME-Zarr plate (zarr.json or .zattrs with 'plate')"

_UNITS = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
_REMEDY = "its metadata is damaged: was it copied whole?"

_MANY_PLANES = 10_000
"""So many planes of one image are believed only if it holds bytes enough: each becomes a row of a table."""


def find_zarr_plate(path: Path) -> bool:
    """Whether an OME-Zarr plate lies at `path`."""
    try:
        return path.is_dir() and "plate" in _attributes(path)
    except InputError:
        return False


def read_zarr_plate(path: Path) -> PlateSource:
    """Read an OME-Zarr plate (see `equinuclei.sources.plates.find_plate_source`).

    Each image of a well is one field, numbered from 1 in the order of the well's list. Images of several acquisitions
    (cycles, rounds) that lie over each other, with one shape and one or no position, are one field; its channels are
    then named after their acquisition ("cycle0 DAPI"). Where acquisitions differ in place or shape, each has fields of
    its own. An image that software made from another (`0_registered` beside `0`, of the same acquisition) is set
    aside, as are labels, tables and lower resolutions; `derived_images` in the metadata counts the names of the
    former.

    The path of a plane is the folder of the array with full resolution; its page counts planes over the axes before y
    and x, in array order. Positions come from the coordinate transformations of the image. An image without translation
    is at (0, 0) if its well has only one field; otherwise its position is unknown.

    Raises
    ------
    InputError
        If there is no plate, or its metadata is damaged.
    """
    plate = _attributes(path).get("plate") if find_zarr_plate(path) else None
    if not isinstance(plate, dict):
        raise InputError(f"{path}: no OME-Zarr plate: looked for {LOOKED_FOR}")
    with reading(path, _REMEDY):
        wells = _read_wells(path, plate)
        prefixes = _prefixes(plate, wells)
        fields = {well: place_images([image for image in images if not image.raw]) for well, images in wells.items()}
        rows = [
            row
            for well, of_well in fields.items()
            for number, images in enumerate(of_well, 1)
            for image in images
            for row in image.rows(well, number, len(of_well) == 1, prefixes[image.acquisition])
        ]
        images = [image for of_well in wells.values() for image in of_well]
        derived = Counter(image.folder.name for image in images if image.raw)
        name = str(plate.get("name") or path.absolute().name.removesuffix(".zarr"))
        metadata = {
            "barcode": name,
            "rows": len(plate.get("rows", [])),
            "columns": len(plate.get("columns", [])),
            "acquisitions": [str(one.get("name", one.get("id"))) for one in plate.get("acquisitions") or []],
            "derived_images": dict(derived),
        }
    return PlateSource(name, "ome-zarr", make_planes(rows, path), metadata, set_aside=_set_aside(images))


def read_zarr_plane(path: str | Path, page: int) -> np.ndarray:
    """A plane (y, x) of an array; `page` counts over its leading axes.

    Raises
    ------
    InputError
        If the array is damaged or claims more than it can hold, or chunks of it were lost
        (`equinuclei.sources.plates.chunks`).
    UnavailableError
        If it cannot be read now.
    """
    with reading(f"{path}, plane {page}", "was it copied whole?"):
        array = zarr.open_array(Path(path), mode="r")
        check_chunks(array, Path(path), page)
        index = np.unravel_index(page, array.shape[:-2]) if array.ndim > 2 else ()
        pixels = np.ascontiguousarray(array[tuple(map(int, index))])
        lost, count = lost_chunks(array, Path(path), page)
    if lost:
        raise InputError(f"{path}: plane {page}: {len(lost)} of {count} chunks are absent: was it copied whole?")
    return pixels


def _attributes(folder: Path) -> dict:
    with reading(folder, _REMEDY):
        attributes = zarr.open_group(folder, mode="r").attrs.asdict()
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, dict):
        raise InputError(f"{folder}: its metadata 'ome' is not a JSON object")
    return ome


def _well_paths(plate: dict) -> list[tuple[str, str]]:
    """Names of wells, and their folders in the plate."""
    found = []
    for well in plate["wells"]:
        row, column = str(well["path"]).split("/")
        found.append((well_name(*parse_well(f"{row}{column}")), str(well["path"])))
    return found


@dataclass(frozen=True)
class WellImage:
    """An image of a well.

    acquisition : its number, 0 where none is given
    raw : name of the image beside it that it was made from; "" for an image that an instrument made
    array, axes, sizes : folder of the array with full resolution, the names of its axes, their lengths
    corner : y and x of the upper left corner in the unit of the axes; None if there is no translation
    scale : of y and x, in the same unit
    micrometres : of that unit, NaN if unknown
    channels : label and emission wavelength (nm) of each
    levels : names of the arrays, from full to lowest resolution
    """

    folder: Path
    acquisition: int
    raw: str
    array: Path
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    corner: tuple[float, float] | None
    scale: tuple[float, float]
    micrometres: float
    channels: tuple[tuple[str, float], ...]
    levels: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.sizes[-2], self.sizes[-1]

    def lies_over(self, other: "WellImage") -> bool:
        """Whether both show the same place: one shape, and one position to half a pixel, or none."""
        if self.shape != other.shape or not np.allclose(self.scale, other.scale, rtol=1e-3):
            return False
        if self.corner is None or other.corner is None:
            return self.corner is other.corner
        return all(abs(a - b) <= abs(s) / 2 for a, b, s in zip(self.corner, other.corner, self.scale, strict=True))

    def rows(self, well: str, number: int, alone: bool, prefix: str) -> list[dict]:
        """Rows for `make_planes`. alone : the well has no other field; prefix : of the names of channels."""
        labels = unique_names({c: label for c, (label, _) in enumerate(self.channels)})
        if self.corner is not None:
            y, x = (at * self.micrometres for at in self.corner)
        else:
            y = x = 0.0 if alone else math.nan
        rows = []
        for page, index in enumerate(np.ndindex(*self.sizes[:-2])):
            at = dict(zip(self.axes, index, strict=False))
            channel = at.get("c", 0)
            rows.append(
                {
                    "well": well,
                    "field": number,
                    "channel": f"{prefix}{labels[channel]}",
                    "wavelength": self.channels[channel][1],
                    "z": at.get("z", 0),
                    "t": at.get("t", 0),
                    "path": str(self.array.absolute()),
                    "page": page,
                    "y": y,
                    "x": x,
                    "height": self.shape[0],
                    "width": self.shape[1],
                    "pixel_size": self.scale[1] * self.micrometres,
                    "acquired": "",
                    "acquisition": self.acquisition,
                }
            )
        return rows


def place_images(images: Sequence[WellImage]) -> list[list[WellImage]]:
    """The fields of a well: lists of images that lie over each other, each of another acquisition.

    Images without a position are taken to lie over each other if they are the same in the order of their acquisition.
    """
    fields: list[list[WellImage]] = []
    numbers: dict[int, int] = {}  # of images of an acquisition so far
    ordinals: list[int] = []  # of a field among those of its first image's acquisition
    for image in images:
        ordinal = numbers[image.acquisition] = numbers.get(image.acquisition, 0) + 1
        for field, of_field in zip(fields, ordinals, strict=True):
            taken = image.acquisition in {other.acquisition for other in field}
            if not taken and image.lies_over(field[0]) and (image.corner is not None or ordinal == of_field):
                field.append(image)
                break
        else:
            fields.append([image])
            ordinals.append(ordinal)
    return fields


def _prefixes(plate: dict, wells: Mapping[str, Sequence[WellImage]]) -> dict[int, str]:
    """What the names of channels begin with, by acquisition: nothing unless a well has several acquisitions."""
    of_wells = [{image.acquisition for image in images if not image.raw} for images in wells.values()]
    ids = sorted(set().union(*of_wells))
    if all(len(of_well) < 2 for of_well in of_wells):
        return dict.fromkeys(ids, "")
    given = {int(one["id"]): str(one.get("name") or "") for one in plate.get("acquisitions") or []}
    names = unique_names({number: given.get(number) or f"acquisition {number}" for number in ids})
    return {number: f"{name} " for number, name in names.items()}


def _set_aside(images: Iterable[WellImage]) -> dict[str, str]:
    """Reasons by folder, of what is in a plate beside the arrays that are read."""
    reasons = {}
    for image in images:
        at = image.folder.absolute()
        if image.raw:
            reasons[str(at)] = f"made from image {image.raw!r} of the same well by software, which is read instead"
            continue
        reasons |= {str(at / level): "lower resolution of an image that is read" for level in image.levels[1:]}
        known = {"labels": "labels: a segmentation", "tables": "tables of a segmentation"}
        reasons |= {str(at / kind): why for kind, why in known.items() if (at / kind).is_dir()}
    return reasons


@dataclass(frozen=True)
class _Listed:
    """An image that a well lists; `image` is None if its metadata has not come."""

    folder: Path
    acquisition: int
    image: WellImage | None


def _read_wells(path: Path, plate: dict) -> dict[str, list[WellImage]]:
    """The images of every well.

    Those that are listed and are not there, as after a copy that broke off, are taken to be like those of the same
    place in another well: their planes are then known to be missing. Raises InputError if no image is there.
    """
    folders = {well: _below(path, place) for well, place in _well_paths(plate)}
    listed = {well: _listed_images(folder) for well, folder in folders.items()}
    like: dict[int, WellImage] = {}
    for of_well in listed.values():
        for place, one in enumerate(of_well):
            if one.image is not None:
                like.setdefault(place, one.image)
    if not like:
        raise InputError(f"{path}: none of the images that it lists is there: was it copied whole?")
    wells: dict[str, list[WellImage]] = {}
    for well, of_well in listed.items():
        if not of_well:
            of_well = [_Listed(folders[well] / image.folder.name, image.acquisition, None) for image in like.values()]
        images = [one.image or _absent(one, like.get(place, like[min(like)])) for place, one in enumerate(of_well)]
        wells[well] = [replace(image, raw=_raw_of(image, images)) for image in images]
    return wells


def _absent(listed: _Listed, like: WellImage) -> WellImage:
    array = listed.folder / like.array.relative_to(like.folder)
    return replace(like, folder=listed.folder, acquisition=listed.acquisition, array=array, levels=())


def _listed_images(well: Path) -> list[_Listed]:
    """The images that a well's metadata lists, or all existing ones if it has no list; none if there is no well."""
    if not well.is_dir():
        return []
    listed = _attributes(well).get("well") if _is_there(well, ".zattrs") else None
    if listed is not None:
        found = [(_below(well, str(one["path"])), int(one.get("acquisition") or 0)) for one in listed["images"]]
    else:
        folders = sorted(child for child in well.iterdir() if child.is_dir() and not child.name.startswith("."))
        found = [
            (folder, 0) for folder in folders if _is_there(folder, ".zattrs") and "multiscales" in _attributes(folder)
        ]
    return [_Listed(folder, acquisition, _image(folder, acquisition)) for folder, acquisition in found]


def _is_there(folder: Path, name: str) -> bool:
    """Whether the metadata of a group (".zattrs") or an array (".zarray") is there, in either version of Zarr."""
    return (folder / name).is_file() or (folder / "zarr.json").is_file()


def _raw_of(image: WellImage, images: Sequence[WellImage]) -> str:
    """Name of the image that another was made from by its name (`0` of `0_registered`), "" if there is none."""
    name = image.folder.name
    raws = [
        other.folder.name
        for other in images
        if re.match(rf"{re.escape(other.folder.name)}_[A-Za-z]", name) and other.acquisition == image.acquisition
    ]
    return min(raws, key=len, default="")


def _below(folder: Path, name: str) -> Path:
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{folder}: lists {name!r}, which is not in the plate: its metadata is damaged")
    return folder.joinpath(*name.split("/"))


def _image(folder: Path, acquisition: int) -> WellImage | None:
    """An image, or None if its metadata is not there."""
    if not _is_there(folder, ".zattrs"):
        return None
    attributes = _attributes(folder)
    multiscale = attributes["multiscales"][0]
    dataset = multiscale["datasets"][0]
    path = _below(folder, str(dataset["path"]))
    if not _is_there(path, ".zarray"):
        return None
    array = zarr.open_array(path, mode="r")
    if (planes := math.prod(array.shape[:-2])) > _MANY_PLANES:
        held = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        check_claim(f"{path}: {planes:,} planes", math.prod(array.shape) * array.dtype.itemsize, held)
    axes = _axes(folder, multiscale, array.shape)
    scale, translation = np.ones(array.ndim), np.zeros(array.ndim)
    translated = False
    for step in (*dataset.get("coordinateTransformations", []), *multiscale.get("coordinateTransformations", [])):
        if step["type"] == "scale":
            scale, translation = scale * step["scale"], translation * step["scale"]
        elif step["type"] == "translation":
            translation, translated = translation + step["translation"], True
    # Without a unit, the scale does not tell the pixel size.
    last = (multiscale.get("axes") or [""])[-1]
    unit = last.get("unit", "") if isinstance(last, dict) else ""
    listed = (attributes.get("omero") or {}).get("channels") or []
    count = array.shape[axes.index("c")] if "c" in axes else 1
    channels = [listed[c] if c < len(listed) else {} for c in range(count)]
    return WellImage(
        folder=folder,
        acquisition=acquisition,
        raw="",
        array=path,
        axes=axes,
        sizes=array.shape,
        corner=(float(translation[-2]), float(translation[-1])) if translated else None,
        scale=(float(scale[-2]), float(scale[-1])),
        micrometres=_UNITS.get(unit, math.nan),
        channels=tuple((str(one.get("label", "")), to_float(one.get("emission_wavelength"))) for one in channels),
        levels=tuple(str(one["path"]) for one in multiscale["datasets"]),
    )


def _axes(folder: Path, multiscale: dict, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the axes. NGFF 0.1 and 0.2 do not tell them: they have five, in one order."""
    axes = multiscale.get("axes")
    if axes is None:
        if len(shape) != 5:
            raise InputError(
                f"{folder}: names no axes, and its array has {len(shape)} of them, not the five (t, c, z, y, x) of "
                "NGFF 0.2: write the plate anew as NGFF 0.4 or 0.5"
            )
        return ("t", "c", "z", "y", "x")
    names = tuple(str(axis["name"] if isinstance(axis, dict) else axis) for axis in axes)
    if names[-2:] != ("y", "x") or len(names) != len(shape):
        raise InputError(f"{folder}: axes {list(names)} of an array {shape}: the last two must be y and x")
    if unknown := set(names[:-2]) - {"t", "c", "z"}:
        raise InputError(f"{folder}: axes {list(names)}: {', '.join(sorted(unknown))} is none of t, c and z")
    return names
