"""OME-Zarr plates, to be read (`equinuclei.omezarr.writing` makes them).

A plate is an NGFF HCS plate with one image per well, `<plate>/B/02/0`: a mosaic (c, y, x) of the well's fields with a
pyramid, and optionally label images (y, x) under `labels/`. A table of the plate says where its fields lie. Of several
time points, images are (t, c, y, x) and labels (t, y, x). In NGFF 0.5 every level is sharded, one file per level (and
time point) where it fits into `equinuclei.omezarr.stacks.SHARD_BYTES`.
"""

import math
import zlib
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import zarr
from ngio import open_ome_zarr_container, open_ome_zarr_plate

from equinuclei.channels import ChannelChoice, find_channel
from equinuclei.claims import check_claim
from equinuclei.errors import InputError, UnavailableError, reading
from equinuclei.omezarr.blocks import SMALLEST_LEVEL_OF_MAPS, STEP, blocks
from equinuclei.omezarr.metadata import (
    REMEDY,
    Metadata,
    is_zarr,
    known_version,
    ngff_part,
    open_array,
    pixel_size_of,
    read_attributes,
    read_metadata,
)
from equinuclei.wells import parse_well, well_name

FIELD_TABLE = "field_ROI_table"
FIELD_COLUMNS = ["field", "y0", "x0", "height", "width"]

_EMPTY_RATIO = 1_000_000
"""Bytes of an image that a byte on disk may stand for: chunks without pixels have no file, gaps shrink to nothing."""

NOTES = "equinuclei"
"""Attribute for what this program notes beside NGFF's own metadata."""


class Plate:
    """An OME-Zarr plate.

    Attributes
    ----------
    path
        Its folder.
    name
        Any text.
    ngff_version
        "0.4" or "0.5".
    wells
        Such as "B02", by row, then column.
    notes
        What the job that made the plate noted about it (see `equinuclei.omezarr.writing.create_plate`).

    Raises
    ------
    InputError
        If no plate lies at the path.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"plate {path} does not exist.")
        if not is_plate(self.path):
            raise InputError(f"{path} is not an OME-Zarr plate.")
        attributes = read_attributes(self.path)
        with reading(self.path, REMEDY):
            metadata = ngff_part(attributes)
            described = metadata["plate"]
            positions = sorted(parse_well(well["path"].replace("/", "")) for well in described["wells"])
            self.name: str = described.get("name", "")
            self.ngff_version = known_version(metadata["version"] if "version" in metadata else described["version"])
            self.wells = [well_name(*position) for position in positions]
            self.notes: Metadata = dict(attributes.get(NOTES, {}))
        if not self.wells:
            raise InputError(f"{path}: lists no well: {REMEDY}")

    def image(self, well: str) -> "WellImage":
        """The image of a well. Raises InputError if there is no such well, or it has no image."""
        return WellImage(self.image_folder(well), self.path, well)

    def channel_index(self, wanted: ChannelChoice | None) -> int:
        """Index of the channel that `equinuclei.channels.find_channel` finds. Raises InputError as that does."""
        wavelengths = self.image(self.wells[0]).wavelengths
        return list(wavelengths).index(find_channel(str(self.path), wavelengths, wanted))

    def field_table(self, well: str) -> pd.DataFrame:
        """Where the fields of a well lie in its mosaic: field, y0, x0, height, width (pixels, whole), sorted by field.

        Raises
        ------
        InputError
            If there is no such table, or a damaged one.
        """
        row, column = well_folders(well)
        table = self._fields
        if table is None:
            return _field_table_of_image(self.image(well))
        with reading(f"{self.path}: its table {FIELD_TABLE!r}", REMEDY):
            found = table[(table["row"].astype(str) == row) & (table["column"].astype(str).str.zfill(2) == column)]
            if found.empty:
                raise InputError(f"{self.path}: its table {FIELD_TABLE!r} lacks well {well}.")
            return found[FIELD_COLUMNS].astype("int64").reset_index(drop=True)

    @cached_property
    def _fields(self) -> pd.DataFrame | None:
        """The table of the fields of all wells. None: each image has its own, as earlier versions made them."""
        with reading(f"{self.path}: its table {FIELD_TABLE!r}", REMEDY):
            plate = open_ome_zarr_plate(self.path, mode="r")
            if FIELD_TABLE not in plate.list_tables():
                return None
            table = plate.get_table(FIELD_TABLE).dataframe.reset_index()
        if missing := {"row", "column", *FIELD_COLUMNS} - set(table):
            raise InputError(f"{self.path}: its table {FIELD_TABLE!r} lacks {', '.join(sorted(missing))}.")
        return table

    def image_folder(self, well: str) -> Path:
        """Where the image of a well lies, or is to be made. Raises InputError if there is no such well."""
        folder = self.path.joinpath(*well_folders(well))
        if not is_zarr(folder):
            raise InputError(f"{self.path} has no well {well}.")
        return folder / "0"


class Pyramid:
    """Pixels of a well at several resolutions: level 0 is full.

    Attributes
    ----------
    path, plate, well
        Its folder, that of its plate, and its well.
    height, width
        Pixels at full resolution.
    reductions
        How many times smaller each level is than the first: (1, 4, 16). Plates of earlier versions: (1, 2, 4, 8).
    has_time, times
        Whether there is an axis t, and its length; 1 without that axis.
    pixel_size
        Micrometres per pixel at full resolution; None if unknown.

    Raises
    ------
    InputError
        If nothing lies at the path.
    """

    kind: str
    """What messages call it."""

    def __init__(self, path: Path, plate: Path, well: str) -> None:
        self.path, self.plate, self.well = path, plate, well
        if not is_zarr(path):
            raise InputError(f"{plate}: well {well} has no {self.kind}: was the plate written whole?")
        self._metadata = read_metadata(path)
        with reading(path, REMEDY):
            self.pixel_size = pixel_size_of(self._metadata)
            self.reductions = _reductions(self._metadata)
            self.has_time = self._metadata["multiscales"][0]["axes"][0]["name"] == "t"
            shape = self.level(0).shape
            self.height, self.width = shape[-2:]
            self.times: int = shape[0] if self.has_time else 1

    def level(self, number: int, mode: Literal["r", "r+"] = "r") -> zarr.Array:
        """The array (..., y, x) of a level. Raises InputError if there is no such level."""
        path = self.path / str(number)
        if not is_zarr(path):
            raise InputError(
                f"{self.plate}: well {self.well} has no {self.kind} of level {number}: is the plate whole?"
            )
        return open_array(path, mode)

    def time_index(self, time: int = 0) -> tuple[int, ...]:
        """The leading index of a time point in the arrays of all levels."""
        return (time,) if self.has_time else ()

    def read(self, time: int = 0) -> np.ndarray:
        """All pixels of a time point at full resolution: (c, y, x), of a label image (y, x).

        Raises
        ------
        InputError
            If they are not those that `equinuclei.omezarr.writing.write_pixels` was given.
        UnavailableError
            If so, and files of them are not there: Zarr takes a file that a file server does not show for a blank one.
        """
        array = self.level(0)
        at = self.time_index(time)
        crc = 0
        with self._damage_reported():
            self._check_claim(array)
            pixels = np.asarray(array[at] if at else array[:])
            for region in blocks(array, at):
                crc = zlib.crc32(np.ascontiguousarray(pixels[region[len(at) :]]).data, crc)
        if crc != self.checksums().get(time, crc):
            if array.nchunks_initialized < array.nchunks:
                raise UnavailableError(
                    f"{self.plate}: the pixels of well {self.well} are not those that were written, and not all of "
                    "their files are there: run again when the disk shows them; if they are lost, remove the plate, "
                    "and run again."
                )
            raise InputError(self._damaged("the checksum differs"))
        return pixels

    def _check_claim(self, array: zarr.Array) -> None:
        """Refuse an array whose damaged metadata claims far more than its files can hold, or its levels lead to."""
        held = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        largest = max(math.prod(array.shape), math.prod(array.shards or array.chunks))
        check_claim(self.path, array.dtype.itemsize * largest, held, _EMPTY_RATIO)
        coarsest = [side // self.reductions[-1] for side in (self.height, self.width)]
        if max(coarsest) > 2 * SMALLEST_LEVEL_OF_MAPS and min(coarsest) >= STEP:
            raise InputError(f"{self.path}: {self.height} x {self.width} pixels would have more levels: {REMEDY}")

    def checksums(self) -> dict[int, int]:
        """CRC-32 of the pixels that were written, by time point."""
        attributes = read_attributes(self.path)
        with reading(self.path, REMEDY):
            noted = attributes.get(NOTES, {}).get("crc32")
            if isinstance(noted, dict):
                return {int(time): int(crc) for time, crc in noted.items()}
            return {} if noted is None else {0: int(noted)}

    def _damage_reported(self) -> AbstractContextManager[None]:
        return reading(self.path, self._damaged("a chunk is broken"))

    def _damaged(self, why: str) -> str:
        return (
            f"{self.plate}: the pixels of well {self.well} are not those that were written ({why}): "
            "remove it, and run again."
        )


class LabelImage(Pyramid):
    """A label image of a well, (y, x) or (t, y, x): 0 is background, each object has a number of its own."""

    def __init__(self, path: Path, plate: Path, well: str) -> None:
        self.kind = f"label image {path.name!r}"
        super().__init__(path, plate, well)


class WellImage(Pyramid):
    """The image of a well, (c, y, x) or (t, c, y, x): the mosaic of its fields.

    Attributes
    ----------
    wavelengths
        Emission wavelengths in nm by channel name, in the order of axis c; NaN where unknown.
    """

    kind = "image"

    def __init__(self, path: Path, plate: Path, well: str) -> None:
        super().__init__(path, plate, well)
        with reading(path, REMEDY):
            self.wavelengths = {
                str(channel["label"]): float(channel.get("emission_wavelength", math.nan))
                for channel in self._metadata["omero"]["channels"]
            }

    @property
    def channels(self) -> list[str]:
        """Names of the channels, in the order of axis c."""
        return list(self.wavelengths)

    def read_channel(self, number: int, time: int = 0) -> np.ndarray:
        """Pixels (y, x) of a channel at full resolution.

        Raises InputError for damage that the checksums of the compressed chunks show; `read` sees any.
        """
        array = self.level(0)
        with self._damage_reported():
            self._check_claim(array)
            return np.asarray(array[(*self.time_index(time), number)])

    def label(self, name: str) -> LabelImage:
        """One of the label images over this image. Raises InputError if there is no such one."""
        return LabelImage(self.path / "labels" / name, self.plate, self.well)


def _reductions(metadata: Metadata) -> tuple[int, ...]:
    """How many times smaller each level of an image is than the first, by its scales along y."""
    scales = [
        next(float(change["scale"][-2]) for change in dataset["coordinateTransformations"] if "scale" in change)
        for dataset in metadata["multiscales"][0]["datasets"]
    ]
    return tuple(round(scale / scales[0]) for scale in scales)


def _field_table_of_image(image: WellImage) -> pd.DataFrame:
    """`Plate.field_table` of a plate that an earlier version made."""
    with reading(f"{image.plate}: well {image.well}, its table {FIELD_TABLE!r}", REMEDY):
        return _regions_of_image(image)


def _regions_of_image(image: WellImage) -> pd.DataFrame:
    scale, where = image.pixel_size or 1.0, f"{image.plate}: well {image.well}"
    container = open_ome_zarr_container(image.path, mode="r")
    if FIELD_TABLE not in container.list_tables():
        raise InputError(f"{where} has no table {FIELD_TABLE!r}.")
    rows = []
    for roi in container.get_roi_table(FIELD_TABLE).rois():
        spans = [roi.get(axis) for axis in ("y", "x")]
        values = [value for span in spans if span is not None for value in (span.start, span.length)]
        if len(values) < 4 or None in values:
            raise InputError(f"{where}: its table {FIELD_TABLE!r} lacks the extent of a field.")
        y, height, x, width = (round(float(value or 0) / scale) for value in values)
        rows.append((int(roi.get_name()), y, x, height, width))
    return pd.DataFrame(sorted(rows), columns=FIELD_COLUMNS).astype("int64")


def is_plate(path: str | Path) -> bool:
    """Whether an OME-Zarr plate lies at `path`."""
    return is_zarr(Path(path)) and "plate" in read_metadata(Path(path))


def well_folders(well: str) -> tuple[str, str]:
    """Names of the folders of a well: its row's, and its column's in that one."""
    name = well_name(*parse_well(well))
    return name[:-2], name[-2:]
