"""OME-Zarr plates, made: the only module that writes them (`equinuclei.omezarr.plates` reads them)."""

import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from ngio import (
    Channel,
    ImageInWellPath,
    create_empty_ome_zarr,
    create_empty_plate,
    open_ome_zarr_container,
    open_ome_zarr_plate,
)
from ngio.tables import GenericTable
from numpy.typing import DTypeLike
from zarr.codecs import ZstdCodec

from equinuclei.omezarr.blocks import SMALLEST_LEVEL, STEP, blocks, chunks_of, count_levels, shards_of, shrink
from equinuclei.omezarr.metadata import Metadata, NgffVersion, changed_metadata, read_metadata
from equinuclei.omezarr.plates import (
    FIELD_COLUMNS,
    FIELD_TABLE,
    NOTES,
    LabelImage,
    Plate,
    Pyramid,
    WellImage,
    well_folders,
)
from equinuclei.omezarr.stacks import ZSTD_LEVEL
from equinuclei.wells import parse_well, well_name

# Colours by emission, up to the wavelength (nm); unknown ones and transmitted light are white.
_COLOURS = ((490.0, "0000FF"), (560.0, "00FF00"), (590.0, "FFFF00"), (650.0, "FF0000"), (math.inf, "FF00FF"))


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
    ngff_version: NgffVersion = "0.5",
    notes: Mapping | None = None,
) -> Plate:
    """Create a plate without images, replacing what stands at `path`.

    Parameters
    ----------
    path
        Folder of the plate.
    name
        Name of the plate: any text.
    wells
        Wells such as "B02". All of them are listed here; each gets its image by `create_image`.
    ngff_version
        "0.5" (Zarr v3, sharded) or "0.4" (Zarr v2).
    notes
        Plain values to keep beside the plate's metadata.

    Raises
    ------
    ValueError
        If there is no well, or a name is not that of a well.
    """
    positions = sorted({parse_well(well) for well in wells})
    if not positions:
        raise ValueError("a plate without wells")
    path = Path(path)
    folders = [well_folders(well_name(*position)) for position in positions]
    images = [ImageInWellPath(row=row, column=column, path="0") for row, column in folders]
    # ngio defaults to 0.4.
    create_empty_plate(path, name, images=images, ngff_version=ngff_version, overwrite=True)
    with changed_metadata(path) as metadata:
        _describe_wells(metadata["plate"], folders)
    if notes is not None:
        zarr.open_group(path, mode="r+").attrs[NOTES] = dict(notes)
    return Plate(path)


def add_notes(plate: Plate, notes: Mapping) -> None:
    """Add plain values to the notes of a plate (see `create_plate`)."""
    zarr.open_group(plate.path, mode="r+").attrs[NOTES] = {**plate.notes, **notes}


def _describe_wells(plate: Metadata, folders: Sequence[tuple[str, str]]) -> None:
    """List the wells of a plate anew: ngio sorts rows as text, AA before B."""
    rows = sorted({row for row, _ in folders}, key=lambda row: (len(row), row))
    columns = sorted({column for _, column in folders})
    plate["rows"] = [{"name": row} for row in rows]
    plate["columns"] = [{"name": column} for column in columns]
    plate["wells"] = [
        {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
        for row, column in folders
    ]
    plate["field_count"] = 1


def create_image(
    plate: Plate,
    well: str,
    channels: Sequence[PlateChannel],
    shape: tuple[int, int],
    dtype: DTypeLike,
    pixel_size: float | None = None,
    times: int | None = None,
    smallest_level: int = SMALLEST_LEVEL,
) -> WellImage:
    """Create the image of a well, replacing one that is there. All its pixels are zero: `write_pixels` sets them.

    Parameters
    ----------
    plate, well
        A plate of `create_plate` and one of its wells.
    channels
        Names, wavelengths and colours, in the order of axis c.
    shape
        Height and width of the mosaic, pixels.
    dtype, pixel_size
        Pixel type, such as uint16; micrometres per pixel. None or NaN: the axes have no unit and a scale of 1.
    times
        Number of time points: the image is (t, c, y, x). None: it is (c, y, x).
    smallest_level
        Pixels: a level of the pyramid that fits into a square of this edge has none below it.

    Raises InputError if the plate has no such well, ValueError if the shape is empty.
    """
    path, version, dtype = plate.image_folder(well), plate.ngff_version, np.dtype(dtype)
    axes = (*([] if times is None else [times]), len(channels), *shape)
    if min(axes) < 1:
        raise ValueError(f"well {well}: shape {axes} is empty")
    known_size = pixel_size if pixel_size is not None and pixel_size > 0 else None
    shutil.rmtree(path, ignore_errors=True)
    create_empty_ome_zarr(
        path,
        shape=axes,
        pixelsize=1.0 if known_size is None else float(known_size),
        axes_names=["c", "y", "x"] if times is None else ["t", "c", "y", "x"],
        channels_meta=[
            Channel.default_init(label=channel.name, color=channel.hex_colour(), data_type=dtype)
            for channel in channels
        ],
        levels=count_levels(*shape, smallest_level),
        scaling_factors=[*(1.0 for _ in axes[:-2]), float(STEP), float(STEP)],
        name=well,
        dtype=dtype.name,
        chunks=chunks_of(axes, version),
        ngff_version=version,
        overwrite=True,
    )
    with changed_metadata(path) as metadata:
        _set_scales(metadata, with_unit=known_size is not None)
        for described, channel in zip(metadata["omero"]["channels"], channels, strict=True):
            if not math.isnan(channel.wavelength):
                described["emission_wavelength"] = float(channel.wavelength)
    _cut_into_shards(path, version)
    return plate.image(well)


def create_label(plate: Plate, well: str, name: str) -> LabelImage:
    """Create a label image (uint32) over the image of a well, replacing one that is there; all of it is background.

    Raises
    ------
    InputError
        If the well has no image.
    ValueError
        If the name cannot be that of a folder.
    """
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise ValueError(f"label {name!r}: use letters, digits, '_' and '-'")
    image = plate.image(well)
    axes = (*([1] if image.has_time else []), 1, image.height, image.width)
    # ngio takes chunks with the image's axes here, and drops axis c itself.
    open_ome_zarr_container(image.path).derive_label(
        name, dtype="uint32", chunks=chunks_of(axes, plate.ngff_version), overwrite=True
    )
    path = image.path / "labels" / name
    with changed_metadata(path) as metadata:
        _set_scales(metadata, with_unit=image.pixel_size is not None)
    _cut_into_shards(path, plate.ngff_version)
    return image.label(name)


def write_pixels(pyramid: Pyramid, read: Callable[..., np.ndarray], time: int = 0) -> None:
    """Write all pixels of a well's image, or of a label image, and its pyramid, whole shards at a time.

    A checksum of what `read` returned is kept beside the image's metadata; `Pyramid.read` compares it.

    Parameters
    ----------
    pyramid
        Made by `create_image` or `create_label`.
    read
        Called as `read(c, y, x)`, for a label image as `read(y, x)`, with the channel's number and slices; returns
        pixels (y, x) of the array's dtype. Calls come shard by shard, channels first.
    time
        The time point to write; each is written by itself.

    Raises
    ------
    ValueError
        If `read` returns another shape or dtype.
    """
    array, at, crc = pyramid.level(0, mode="r+"), pyramid.time_index(time), 0
    for region in blocks(array, at):
        plane = region[len(at) :]
        block = np.empty([part.stop - part.start for part in plane], array.dtype)
        if isinstance(pyramid, LabelImage):
            block[:] = _checked(read(*plane), block.shape, array.dtype)
        else:
            for number, channel in enumerate(range(plane[0].start, plane[0].stop)):
                block[number] = _checked(read(channel, *plane[1:]), block.shape[1:], array.dtype)
        array[region] = block[(np.newaxis,) * len(at)]
        crc = zlib.crc32(block.data, crc)
    checksums = {str(number): value for number, value in {**pyramid.checksums(), time: crc}.items()}
    zarr.open_group(pyramid.path, mode="r+").attrs[NOTES] = {"crc32": checksums if pyramid.has_time else crc}
    # An array of one shard, as most are, is still in memory: its pyramid needs no reading.
    _write_coarser_levels(pyramid, _finished(block, array, at), at)


def _write_coarser_levels(pyramid: Pyramid, finer: np.ndarray | zarr.Array, at: tuple[int, ...]) -> None:
    """Write the levels of a time point below the one of full resolution, `finer`.

    Labels keep the upper left pixel of those that become one, images the mean.
    """
    for level in range(1, len(pyramid.reductions)):
        array = pyramid.level(level, mode="r+")
        for region in blocks(array, at):
            plane = region[len(at) :]
            source = tuple(slice(STEP * part.start, STEP * part.stop) for part in plane[-2:])
            fine = np.asarray(finer[(*plane[:-2], *source)])
            if isinstance(pyramid, LabelImage):
                block = np.ascontiguousarray(fine[..., ::STEP, ::STEP])
            else:
                block = shrink(fine, STEP)
            array[region] = block[(np.newaxis,) * len(at)]
        finer = _finished(block, array, at)


def _finished(block: np.ndarray, array: zarr.Array, at: tuple[int, ...]) -> np.ndarray | zarr.Array:
    """The pixels of a time point that were just written: the last block, if there was no other."""
    if block.shape == array.shape[len(at) :]:
        return block
    return np.asarray(array[at]) if at else array


def write_field_table(plate: Plate, fields: Mapping[str, pd.DataFrame]) -> None:
    """Write where the fields of all wells lie in their mosaics, as the table `FIELD_TABLE` of the plate.

    One table, as three files of every well are a sixth of all that a plate takes. Its rows name the image (row, column,
    path_in_well), the field, and its rectangle in pixels and, as ngio's tables of regions do, in micrometres.

    fields : by well, with columns field (number), y0, x0 (of the upper left pixel), height and width (pixels).
    """
    tables = []
    for well, of_well in fields.items():
        row, column = well_folders(well)
        scale = plate.image(well).pixel_size or math.nan
        table = of_well[FIELD_COLUMNS].astype("int64").sort_values("field")
        table = table.assign(
            x_micrometer=table["x0"] * scale,
            y_micrometer=table["y0"] * scale,
            len_x_micrometer=table["width"] * scale,
            len_y_micrometer=table["height"] * scale,
        )
        for place, (name, value) in enumerate({"row": row, "column": column, "path_in_well": "0"}.items()):
            table.insert(place, name, value)
        tables.append(table)
    opened = open_ome_zarr_plate(plate.path)
    opened.add_table(FIELD_TABLE, GenericTable(pd.concat(tables, ignore_index=True)), backend="csv", overwrite=True)


def link_well(source: Plate, target: Plate, well: str) -> None:
    """Put a well of one plate into another that lists it, as links to the same files where that can be done."""
    folders = well_folders(well)
    at = target.path.joinpath(*folders)
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(source.path.joinpath(*folders), at, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # across file systems, or one without links
        shutil.copy2(source, target)


def set_display_ranges(plate: Plate) -> None:
    """Set how the channels of all wells are displayed: one range per channel name, from the pyramids' coarsest levels.

    The range goes from the median of the wells' 1 % quantiles to the largest of their 99.8 % quantiles; zeros, which
    fill gaps between fields, do not count.
    """
    quantiles: dict[str, list[np.ndarray]] = {}
    images = [plate.image(well) for well in plate.wells]
    for image in images:
        coarse = np.asarray(image.level(len(image.reductions) - 1)[:])
        by_channel = np.moveaxis(coarse, -3, 0)
        for name, pixels in zip(image.channels, by_channel, strict=True):
            values = pixels[pixels != 0]
            if values.size:
                quantiles.setdefault(name, []).append(np.quantile(values, [0.01, 0.998]))
    for image in images:
        with changed_metadata(image.path) as metadata:
            for channel in metadata["omero"]["channels"]:
                found = np.array(quantiles.get(channel["label"], [[0.0, 1.0]]))
                start, end = float(np.median(found[:, 0])), float(found[:, 1].max())
                channel["window"].update(start=start, end=max(end, start + 1e-6 if end < 1 else start + 1.0))


def _cut_into_shards(path: Path, version: NgffVersion) -> None:
    """Replace the empty arrays of an image by sharded ones.

    ngio makes a shard no larger than the array, in whole chunks, so that one array takes several files at its edges.
    """
    if version == "0.4":
        return
    multiscale = read_metadata(path)["multiscales"][0]
    axes = [axis["name"] for axis in multiscale["axes"]]
    for dataset in multiscale["datasets"]:
        made = zarr.open_array(path / dataset["path"], mode="r")
        chunks = chunks_of(made.shape, version)
        zarr.create_array(
            path / dataset["path"],
            shape=made.shape,
            dtype=made.dtype,
            chunks=chunks,
            shards=shards_of(made.shape, chunks, made.dtype.itemsize, has_time=axes[0] == "t"),
            compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
            fill_value=0,
            dimension_names=axes,
            zarr_format=3,
            overwrite=True,
        )


def _set_scales(metadata: Metadata, *, with_unit: bool) -> None:
    """Make every level's scale `STEP` times that of the level before; drop the unit where the pixel size is unknown.

    ngio divides the lengths of the axes, 4.0013 for a level of 750 pixels below one of 3001, and always writes a unit.
    """
    multiscale = metadata["multiscales"][0]
    base = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    for level, dataset in enumerate(multiscale["datasets"]):
        dataset["coordinateTransformations"][0]["scale"] = [*base[:-2], *(size * STEP**level for size in base[-2:])]
    for axis in multiscale["axes"]:
        if not with_unit:
            axis.pop("unit", None)


def _checked(pixels: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if pixels.shape != tuple(shape) or pixels.dtype != dtype:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected {dtype} {tuple(shape)}")
    return pixels
