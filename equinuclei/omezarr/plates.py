"""OME-Zarr plates: the only module that writes or reads them.

A plate is an NGFF HCS plate with one image per well, `<plate>/B/02/0`: a mosaic (c, y, x) of the well's fields with a
pyramid of halved levels, a table of its fields, and optionally label images (y, x) under `labels/`. In NGFF 0.5 every
level is sharded, one file where it fits into `SHARD_BYTES`.
"""

import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from ngio import (
    Channel,
    ImageInWellPath,
    OmeZarrContainer,
    Roi,
    create_empty_ome_zarr,
    create_empty_plate,
    open_ome_zarr_container,
)
from ngio.tables import RoiTable
from zarr.codecs import ZstdCodec

from equinuclei.errors import InputError
from equinuclei.omezarr.stacks import SHARD_BYTES, ZSTD_LEVEL
from equinuclei.wells import parse_well, well_name

NGFF_VERSIONS = ("0.4", "0.5")
FIELD_TABLE = "field_ROI_table"
IMAGE = "0"

CHUNK = 512  # pixels; what a viewer or a tile reads at once
CHUNK_V2 = 2048  # pixels; without shards a chunk is a file
SMALLEST_LEVEL = 512  # pixels; a level that fits into this has none below it

# Colours by emission, up to the wavelength (nm); unknown ones and transmitted light are white.
_COLOURS = ((490.0, "0000FF"), (560.0, "00FF00"), (590.0, "FFFF00"), (650.0, "FF0000"), (math.inf, "FF00FF"))
_FIELD_COLUMNS = ["field", "y0", "x0", "height", "width"]


@dataclass(frozen=True)
class PlateChannel:
    """A channel of a plate: its name, emission wavelength (nm, NaN if unknown) and colour (hex; None: by emission)."""

    name: str
    wavelength: float = math.nan
    colour: str | None = None

    def hex_colour(self) -> str:
        """Six hexadecimal digits."""
        if self.colour is not None:
            return self.colour
        if math.isnan(self.wavelength):
            return "FFFFFF"
        return next(colour for limit, colour in _COLOURS if self.wavelength < limit)


def create_plate(
    path: str | Path,
    name: str,
    wells: Iterable[str],
    ngff_version: str = "0.5",
    attributes: Mapping | None = None,
) -> None:
    """Create a plate without images, replacing what stands at `path`.

    Parameters
    ----------
    path
        Folder of the plate.
    name
        Name of the plate: any text.
    wells
        Wells such as "B02". All of them are listed here; each gets its image by `create_well_image`.
    ngff_version
        "0.5" (Zarr v3, sharded) or "0.4" (Zarr v2).
    attributes
        Plain values to keep beside the plate's metadata.

    Raises
    ------
    ValueError
        If there is no well, or one is none, or the version is unknown.
    """
    if ngff_version not in NGFF_VERSIONS:
        raise ValueError(f"NGFF version {ngff_version!r} is not one of {', '.join(NGFF_VERSIONS)}")
    positions = sorted({parse_well(well) for well in wells})
    if not positions:
        raise ValueError("a plate without wells")
    path = Path(path)
    parts = [_well_parts(well_name(*position)) for position in positions]
    images = [ImageInWellPath(row=row, column=column, path=IMAGE) for row, column in parts]
    # ngio defaults to 0.4.
    create_empty_plate(path, name, images=images, ngff_version=ngff_version, overwrite=True)
    group = zarr.open_group(path, mode="r+")
    outer = group.attrs.asdict()
    plate = (outer["ome"] if ngff_version == "0.5" else outer)["plate"]
    # ngio sorts rows as text, AA before B.
    rows = sorted({row for row, _ in parts}, key=lambda row: (len(row), row))
    columns = sorted({column for _, column in parts})
    plate["rows"] = [{"name": row} for row in rows]
    plate["columns"] = [{"name": column} for column in columns]
    plate["wells"] = [
        {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
        for row, column in parts
    ]
    plate["field_count"] = 1
    group.attrs.put({**outer, **dict(attributes or {})})


def create_well_image(
    plate: str | Path,
    well: str,
    channels: Sequence[PlateChannel],
    height: int,
    width: int,
    dtype: str | np.dtype,
    pixel_size: float | None = None,
) -> zarr.Array:
    """Create the image of a well, replacing one that is there.

    Parameters
    ----------
    plate, well
        A plate of `create_plate` and one of its wells.
    channels
        Names, wavelengths and colours, in the order of axis c.
    height, width
        Pixels of the mosaic.
    dtype
        Pixel type, such as uint8, uint16 or float32.
    pixel_size
        Micrometres per pixel. None or NaN: the axes have no unit and a scale of 1.

    Returns
    -------
    zarr.Array
        The level of full resolution, (c, y, x), all zero. Write it with `write_well`.

    Raises
    ------
    InputError
        If the plate or the well is not there.
    ValueError
        If the shape is empty.
    """
    path = _well_path(plate, well)
    dtype = np.dtype(dtype)
    if not channels or min(height, width) < 1:
        raise ValueError(f"well {well}: shape ({len(channels)}, {height}, {width}) is empty")
    known = pixel_size is not None and pixel_size > 0
    version = ngff_version(plate)
    shutil.rmtree(path, ignore_errors=True)
    create_empty_ome_zarr(
        path,
        shape=(len(channels), height, width),
        pixelsize=float(pixel_size) if known else 1.0,
        axes_names=["c", "y", "x"],
        channels_meta=[
            Channel.default_init(label=channel.name, color=channel.hex_colour(), data_type=dtype)
            for channel in channels
        ],
        levels=_level_count(height, width),
        name=well,
        dtype=dtype.name,
        chunks=_chunks((len(channels), height, width), version),
        ngff_version=version,
        overwrite=True,
    )
    with _metadata(path) as metadata:
        _set_scales(metadata, known)
        for described, channel in zip(metadata["omero"]["channels"], channels, strict=True):
            if not math.isnan(channel.wavelength):
                described["emission_wavelength"] = float(channel.wavelength)
    _cut_into_shards(path, version)
    return zarr.open_array(path / "0", mode="r+")


def create_label(plate: str | Path, well: str, name: str, dtype: str | np.dtype = "uint32") -> zarr.Array:
    """Create a label image of a well, replacing one that is there.

    Returns
    -------
    zarr.Array
        The level of full resolution, (y, x) as the well's image, all zero (background). Write it with `write_well`.

    Raises
    ------
    InputError
        If the well has no image.
    ValueError
        If the name cannot be one of a folder.
    """
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise ValueError(f"label {name!r}: use letters, digits, '_' and '-'")
    path, version = _image_path(plate, well), ngff_version(plate)
    height, width = open_well(plate, well).shape[-2:]
    known = read_pixel_size(plate, well) is not None
    # ngio takes chunks with the image's axes here, and drops axis c itself.
    open_ome_zarr_container(path).derive_label(
        name, dtype=np.dtype(dtype).name, chunks=_chunks((1, height, width), version), overwrite=True
    )
    label = path / "labels" / name
    with _metadata(label) as metadata:
        _set_scales(metadata, known)
    _cut_into_shards(label, version)
    return zarr.open_array(label / "0", mode="r+")


def link_well(source: str | Path, target: str | Path, well: str) -> None:
    """Put a well of one plate into another that lists it, as links to the same files where that can be done."""
    folder = _well_path(source, well).parent
    at = Path(target, *_well_parts(well))
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(folder, at, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # across file systems, or one that knows no links
        shutil.copy2(source, target)


def open_well(plate: str | Path, well: str, level: int = 0, label: str | None = None, mode: str = "r") -> zarr.Array:
    """Open a level of a well's image (c, y, x), or of one of its label images (y, x); level 0 is full resolution.

    Raises
    ------
    InputError
        If the plate, the well, the label or the level is not there.
    """
    path = _pixels_path(plate, well, label)
    if not _is_zarr(path / str(level)):
        what = "image" if label is None else f"label {label!r}"
        raise InputError(f"{plate}: well {well} has no {what} of level {level}: was the plate written whole?")
    return zarr.open_array(path / str(level), mode=mode)


def blocks(array: zarr.Array) -> Iterator[tuple[slice, ...]]:
    """Regions that cover an array, in C order, each of whole shards (of whole chunks where there are no shards).

    Writers that share a shard would lose each other's pixels, so a task writes one or more of these regions.
    """
    unit = array.shards or _shards(array.shape, array.chunks, array.dtype.itemsize)
    for index in np.ndindex(*(-(-size // step) for size, step in zip(array.shape, unit, strict=True))):
        spans = zip(index, unit, array.shape, strict=True)
        yield tuple(slice(at * step, min((at + 1) * step, size)) for at, step, size in spans)


def write_well(
    plate: str | Path,
    well: str,
    read: Callable[..., np.ndarray],
    label: str | None = None,
) -> None:
    """Write all pixels of a well's image, or of a label image, and its pyramid, whole shards at a time.

    A checksum of what `read` returned is kept beside the image's metadata; `read_well` compares it.

    Parameters
    ----------
    plate, well, label
        Where: made by `create_well_image` or `create_label`.
    read
        Called as `read(c, y, x)`, for a label as `read(y, x)`, with the channel's number and slices; returns pixels
        (y, x) of the array's dtype. Calls come shard by shard, channels first.

    Raises
    ------
    ValueError
        If `read` returns another shape or dtype.
    """
    array, crc = open_well(plate, well, label=label, mode="r+"), 0
    for region in blocks(array):
        block = np.empty([part.stop - part.start for part in region], array.dtype)
        if label is not None:
            block[:] = _checked(read(*region), block.shape, array.dtype)
        else:
            for number, channel in enumerate(range(region[0].start, region[0].stop)):
                block[number] = _checked(read(channel, *region[1:]), block.shape[1:], array.dtype)
        array[region] = block
        crc = zlib.crc32(block, crc)
    group = zarr.open_group(_pixels_path(plate, well, label), mode="r+")
    group.attrs.put(group.attrs.asdict() | {"equinuclei": {"crc32": crc}})
    # An array of one shard, as most are, is still in memory: its pyramid needs no reading.
    finer = block if block.shape == array.shape else array
    for level in range(1, level_count(plate, well, label)):
        array = open_well(plate, well, level, label, mode="r+")
        for region in blocks(array):
            source = tuple(slice(2 * part.start, 2 * part.stop) for part in region[-2:])
            fine = np.asarray(finer[(*region[:-2], *source)])
            block = np.ascontiguousarray(fine[..., ::2, ::2]) if label is not None else _halve(fine)
            array[region] = block
        finer = block if block.shape == array.shape else array


def read_well(plate: str | Path, well: str, label: str | None = None, channel: int | None = None) -> np.ndarray:
    """Pixels of a well's image (c, y, x), of one of its channels, or of one of its label images (y, x), as written.

    Raises
    ------
    InputError
        If the plate, the well or the label is not there, or its pixels are not those that `write_well` was given: of
        a single channel this is told by the checksums of the compressed chunks alone.
    """
    array = open_well(plate, well, label=label)
    try:
        pixels = np.asarray(array[:] if channel is None else array[channel])
    except (OSError, RuntimeError, ValueError) as error:  # what codecs say of damage
        raise InputError(_damaged(plate, well, str(error))) from error
    if channel is not None:
        return pixels
    crc = 0
    for region in blocks(array):
        crc = zlib.crc32(np.ascontiguousarray(pixels[region]), crc)
    path = _pixels_path(plate, well, label)
    if crc != zarr.open_group(path, mode="r").attrs.asdict().get("equinuclei", {}).get("crc32", crc):
        raise InputError(_damaged(plate, well, "the checksum differs"))
    return pixels


def _damaged(plate: str | Path, well: str, why: str) -> str:
    return f"{plate}: the pixels of well {well} are not those that were written ({why}): remove it, and run again."


def level_count(plate: str | Path, well: str, label: str | None = None) -> int:
    """Levels of the pyramid of a well's image or label image."""
    return len(_read_metadata(_pixels_path(plate, well, label))["multiscales"][0]["datasets"])


def list_wells(plate: str | Path) -> list[str]:
    """Wells of a plate such as "B02", by row, then column.

    Raises
    ------
    InputError
        If there is no plate.
    """
    described = _plate_metadata(plate)["plate"]["wells"]
    return [well_name(*position) for position in sorted(parse_well(w["path"].replace("/", "")) for w in described)]


def plate_attributes(plate: str | Path) -> dict:
    """Attributes that `create_plate` was given, and the plate's own; empty if there is no Zarr group at `plate`."""
    if not _is_zarr(Path(plate)):
        return {}
    return zarr.open_group(Path(plate), mode="r").attrs.asdict()


def plate_name(plate: str | Path) -> str:
    """Name of a plate."""
    return _plate_metadata(plate)["plate"].get("name", "")


def ngff_version(plate: str | Path) -> str:
    """NGFF version of a plate, "0.4" or "0.5".

    Raises
    ------
    InputError
        If there is no plate.
    """
    metadata = _plate_metadata(plate)
    return metadata["version"] if "version" in metadata else metadata["plate"]["version"]


def read_channels(plate: str | Path, well: str) -> list[str]:
    """Names of a well's channels, in the order of axis c."""
    return _container(plate, well).channel_labels


def read_wavelengths(plate: str | Path, well: str) -> dict[str, float]:
    """Emission wavelengths in nm by channel name, in the order of axis c; NaN where unknown."""
    channels = _read_metadata(_image_path(plate, well))["omero"]["channels"]
    return {channel["label"]: float(channel.get("emission_wavelength", math.nan)) for channel in channels}


def read_pixel_size(plate: str | Path, well: str) -> float | None:
    """Micrometres per pixel of a well's image, None if unknown."""
    multiscale = _read_metadata(_image_path(plate, well))["multiscales"][0]
    if "unit" not in multiscale["axes"][-1]:
        return None
    return float(multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][-1])


def write_field_table(plate: str | Path, well: str, fields: pd.DataFrame) -> None:
    """Write where the fields of a well lie in its mosaic, as the ROI table `FIELD_TABLE`.

    `fields` has the columns field (number), y0, x0 (of the upper left pixel), height and width (pixels).
    """
    scale = read_pixel_size(plate, well) or 1.0
    rois = [
        Roi.from_values(
            name=str(row.field),
            slices={"x": (row.x0 * scale, row.width * scale), "y": (row.y0 * scale, row.height * scale)},
        )
        for row in fields[_FIELD_COLUMNS].astype(int).itertuples(index=False)
    ]
    # Two files; AnnData, the default, takes some twenty per well.
    _container(plate, well).add_table(FIELD_TABLE, RoiTable(rois=rois), backend="csv", overwrite=True)


def read_field_table(plate: str | Path, well: str) -> pd.DataFrame:
    """Where the fields of a well lie in its mosaic: field, y0, x0, height, width (pixels, whole), sorted by field.

    Raises
    ------
    InputError
        If the well or its table is not there.
    """
    scale = read_pixel_size(plate, well) or 1.0
    container = _container(plate, well)
    if FIELD_TABLE not in container.list_tables():
        raise InputError(f"{plate}: well {well} has no table {FIELD_TABLE!r}.")
    rows = []
    for roi in container.get_roi_table(FIELD_TABLE).rois():
        parts = {part.axis_name: part for part in roi.slices}
        y, x = parts["y"], parts["x"]
        pixels = [round(value / scale) for value in (y.start, x.start, y.length, x.length)]
        rows.append((int(roi.name), *pixels))
    return pd.DataFrame(sorted(rows), columns=_FIELD_COLUMNS).astype("int64")


def set_display_ranges(plate: str | Path) -> None:
    """Set how the channels of all wells are displayed: one range per channel name, from the pyramids' coarsest levels.

    The range goes from the median of the wells' 1 % quantiles to the largest of their 99.8 % quantiles; zeros, which
    fill gaps between fields, do not count.
    """
    quantiles: dict[str, list[np.ndarray]] = {}
    wells = list_wells(plate)
    for well in wells:
        coarse = np.asarray(open_well(plate, well, level_count(plate, well) - 1)[:])
        for name, pixels in zip(read_channels(plate, well), coarse, strict=True):
            values = pixels[pixels != 0]
            if values.size:
                quantiles.setdefault(name, []).append(np.quantile(values, [0.01, 0.998]))
    for well in wells:
        with _metadata(_image_path(plate, well)) as metadata:
            for channel in metadata["omero"]["channels"]:
                found = np.array(quantiles.get(channel["label"], [[0.0, 1.0]]))
                start, end = float(np.median(found[:, 0])), float(found[:, 1].max())
                channel["window"].update(start=start, end=max(end, start + 1e-6 if end < 1 else start + 1.0))


class _metadata:  # noqa: N801 (reads as a function)
    """Change the NGFF metadata of a group in a `with` block."""

    def __init__(self, path: Path) -> None:
        self.group = zarr.open_group(path, mode="r+")

    def __enter__(self) -> dict:
        self.attributes = self.group.attrs.asdict()
        return self.attributes.get("ome", self.attributes)

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.group.attrs.put(self.attributes)


def _read_metadata(path: Path) -> dict:
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    return attributes.get("ome", attributes)


def _plate_metadata(plate: str | Path) -> dict:
    if not Path(plate).is_dir():
        raise InputError(f"plate {plate} does not exist.")
    metadata = _read_metadata(Path(plate)) if _is_zarr(Path(plate)) else {}
    if "plate" not in metadata:
        raise InputError(f"{plate} is no OME-Zarr plate.")
    return metadata


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def _well_parts(well: str) -> tuple[str, str]:
    name = well_name(*parse_well(well))
    return name[:-2], name[-2:]


def _well_path(plate: str | Path, well: str) -> Path:
    path = Path(plate, *_well_parts(well))
    if not _is_zarr(path):
        _plate_metadata(plate)
        raise InputError(f"{plate}: has no well {well}.")
    return path / IMAGE


def _image_path(plate: str | Path, well: str) -> Path:
    path = _well_path(plate, well)
    if not _is_zarr(path):
        raise InputError(f"{plate}: well {well} has no image: was the plate written whole?")
    return path


def _pixels_path(plate: str | Path, well: str, label: str | None) -> Path:
    return _image_path(plate, well) if label is None else _image_path(plate, well) / "labels" / label


def _container(plate: str | Path, well: str) -> OmeZarrContainer:
    return open_ome_zarr_container(_image_path(plate, well))


def _level_count(height: int, width: int) -> int:
    count = 1
    while max(height, width) > SMALLEST_LEVEL and min(height, width) >= 2:
        count, height, width = count + 1, height // 2, width // 2
    return count


def _chunks(shape: tuple[int, ...], version: str) -> tuple[int, ...]:
    edge = CHUNK if version == "0.5" else CHUNK_V2
    return (*(1 for _ in shape[:-2]), *(min(edge, size) for size in shape[-2:]))


def _shards(shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Shard of whole chunks: the array, or as much of its last axes as has `SHARD_BYTES`."""
    shard = list(chunks)
    for axis in reversed(range(len(shape))):
        room = SHARD_BYTES // (math.prod(shard) * itemsize)
        shard[axis] *= max(1, min(-(-shape[axis] // chunks[axis]), room))
        if shard[axis] < shape[axis]:
            break
    return tuple(shard)


def _cut_into_shards(path: Path, version: str) -> None:
    """Replace the empty arrays of an image by sharded ones.

    ngio makes a shard no larger than the array, in whole chunks, so that one array takes several files at its edges.
    """
    if version == "0.4":
        return
    axes = [axis["name"] for axis in _read_metadata(path)["multiscales"][0]["axes"]]
    for dataset in _read_metadata(path)["multiscales"][0]["datasets"]:
        shape, dtype = (made := zarr.open_array(path / dataset["path"], mode="r")).shape, made.dtype
        chunks = _chunks(shape, version)
        zarr.create_array(
            path / dataset["path"],
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            shards=_shards(shape, chunks, dtype.itemsize),
            compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
            fill_value=0,
            dimension_names=axes,
            zarr_format=3,
            overwrite=True,
        )


def _set_scales(metadata: dict, unit: bool) -> None:
    """Make every level's scale twice that of the level before, and drop the unit where the pixel size is unknown.

    ngio divides the lengths of the axes, 2.0007 for a level of 1500 pixels below one of 3001, and always writes a unit.
    """
    multiscale = metadata["multiscales"][0]
    base = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    for level, dataset in enumerate(multiscale["datasets"]):
        dataset["coordinateTransformations"][0]["scale"] = [*base[:-2], *(size * 2**level for size in base[-2:])]
    for axis in multiscale["axes"]:
        if not unit:
            axis.pop("unit", None)


def _checked(pixels: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if pixels.shape != tuple(shape) or pixels.dtype != dtype:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected {dtype} {tuple(shape)}")
    return pixels


def _halve(pixels: np.ndarray) -> np.ndarray:
    """Mean over 2 x 2 pixels of the last two axes, of even length; integers are rounded half up."""
    first, *others = (pixels[..., y::2, x::2] for y in (0, 1) for x in (0, 1))
    if pixels.dtype.kind == "f":
        return ((first.astype(np.float64) + sum(others)) / 4).astype(pixels.dtype)
    total = first.astype(np.uint32 if pixels.dtype.itemsize <= 2 else np.uint64)
    for quarter in others:
        total += quarter
    total += 2
    total >>= 2
    return total.astype(pixels.dtype)
