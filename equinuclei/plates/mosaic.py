"""The mosaics of a plate's wells: where their fields lie, what all of them have in common, and their pixels."""

import logging
import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from equinuclei.errors import InputError, UnavailableError, is_of_the_system
from equinuclei.images.flat_field import flatten, illumination
from equinuclei.omezarr.writing import PlateChannel
from equinuclei.plates.field_images import claims_too_much, read_field
from equinuclei.sources.plates import PlateSource, read_plane
from equinuclei.sources.plates.planes import NO_FILE

logger = logging.getLogger("equinuclei.plates.convert")

# Fields can lie far apart in a well; beyond this, a position is an error, and the mosaic would fill a disk.
_SPARSEST = 400  # pixels of a mosaic per pixel of its fields

GAP = 1
"""Pixels between fields whose positions are unknown: images that do not belong side by side share no nucleus."""


def place_fields(fields: pd.DataFrame, pixel_size: float) -> tuple[pd.DataFrame, int, int]:
    """Place the fields of a well in its mosaic.

    Parameters
    ----------
    fields
        Columns field, y, x (micrometres of the upper left corner, y pointing down; NaN if unknown), height and width
        (pixels); a row per field.
    pixel_size
        Micrometres; NaN if unknown.

    Returns
    -------
    pandas.DataFrame
        Columns field, y0, x0, height, width (pixels, whole), sorted by field. The smallest y0 and x0 are 0. Where a
        position or the pixel size is unknown, fields stand in reading order, in as many columns as rows or one more,
        each in a cell as large as the largest field, `GAP` apart, so that no nucleus reaches into the next one.
    int, int
        Height and width of the mosaic, the smallest that holds every field.
    """
    placed = fields.sort_values("field", kind="stable", ignore_index=True)
    if pixel_size > 0 and np.isfinite(placed[["y", "x"]].to_numpy(float)).all():
        # Half a pixel is rounded up whatever the sign, so that equal distances give equal offsets.
        placed["y0"], placed["x0"] = (
            np.floor((placed[axis] - placed[axis].min()) / pixel_size + 0.5).astype("int64") for axis in ("y", "x")
        )
    else:
        columns = math.ceil(math.sqrt(len(placed)))
        number = np.arange(len(placed))
        placed["y0"] = number // columns * (int(placed["height"].max()) + GAP)
        placed["x0"] = number % columns * (int(placed["width"].max()) + GAP)
    placed = placed[["field", "y0", "x0", "height", "width"]].astype("int64")
    return placed, int((placed["y0"] + placed["height"]).max()), int((placed["x0"] + placed["width"]).max())


@dataclass(frozen=True)
class MosaicPlan:
    """What is to be written of a plate: the planes of every well, and what all wells have in common.

    wells : the planes to read, by well (see `equinuclei.sources.plates.PlateSource.planes`)
    places : where the fields of a well lie in its mosaic, by well (see `place_fields`)
    shape : height and width of every mosaic, pixels: viewers lay out wells of one shape only
    pixel_size : micrometres; NaN if unknown
    projection : "max" or "mean", where a field has several planes
    times : numbers of the time points along the axis t that images get; empty: they get none
    imaged : names of the channels that were imaged at each time (index along that axis; 0 if there is none)
    profiles : of illumination, by the name of a channel to be corrected
    absent : paths of the files that are not there, and are done without
    """

    wells: Mapping[str, pd.DataFrame]
    places: Mapping[str, pd.DataFrame]
    shape: tuple[int, int]
    channels: Sequence[PlateChannel]
    pixel_size: float
    dtype: np.dtype
    projection: str
    times: Sequence[int]
    imaged: Sequence[set[str]]
    profiles: Mapping[str, Mapping]
    absent: Collection[str] = ()

    @classmethod
    def of(
        cls,
        where: str,
        plate: PlateSource,
        planes: pd.DataFrame,
        names: Sequence[str],
        projection: str,
        flat_field: bool,
        absent: Collection[str] = (),
    ) -> "MosaicPlan":
        """The plan for the chosen planes and channel names of a plate, which messages call `where`.

        planes : with the column time, the index along the axis t of what is to be written; 0 if there is no such axis.

        Raises InputError if the channels differ in pixel size, no image can be read, or positions cannot be right;
        UnavailableError if a file that is not among the `absent` ones cannot be read now.
        """
        pixel_size = _common_pixel_size(where, planes)
        times = sorted({int(number) for number in planes["t"]}) if planes["time"].max() > 0 else []
        channels, dtypes = [], []
        for name in names:
            wavelength = plate.planes.loc[plate.planes["channel"] == name, "wavelength"].iloc[0]
            channels.append(PlateChannel(name, float(wavelength)))
            dtypes += _first_dtype(planes[planes["channel"] == name], absent)
        if not dtypes:
            raise InputError(f"{where}: none of {len(planes)} images can be read: was the plate copied whole?")
        # A field that has only other channels is a field all the same: its images are missing.
        others = plate.planes.assign(height=planes["height"].iloc[0], width=planes["width"].iloc[0])
        fields = pd.concat([planes, others]).drop_duplicates(["well", "field"])
        fields_of = dict(list(fields.groupby("well")))
        planes_of = dict(list(planes.groupby("well")))
        ordered = list(dict.fromkeys(plate.planes["well"]))
        placed = {well: _place(well, fields_of[well], pixel_size) for well in ordered}
        return cls(
            wells={well: planes_of.get(well, planes.iloc[:0]) for well in ordered},
            places={well: places for well, (places, _, _) in placed.items()},
            shape=(max(height for _, height, _ in placed.values()), max(width for _, _, width in placed.values())),
            channels=channels,
            pixel_size=pixel_size,
            dtype=np.result_type(*dtypes),
            projection=projection,
            times=times if len(times) > 1 else [],
            imaged=[set(planes.loc[planes["time"] == time, "channel"]) for time in range(planes["time"].max() + 1)],
            profiles=_profiles(where, plate, names) if flat_field else {},
            absent=absent,
        )


def _common_pixel_size(where: str, planes: pd.DataFrame) -> float:
    """Micrometres per pixel, NaN if unknown; InputError if the channels differ."""
    sizes = planes.groupby("channel")["pixel_size"].median()
    known = sizes.dropna()
    if len(known) and known.max() > known.min() * 1.001:
        listed = ", ".join(f"{name!r} {size:g}" for name, size in known.items())
        raise InputError(f"{where}: channels differ in pixel size (micrometres): {listed}; choose channels of one.")
    return float(known.iloc[0]) if len(known) else math.nan


def _place(well: str, fields: pd.DataFrame, pixel_size: float) -> tuple[pd.DataFrame, int, int]:
    placed, height, width = place_fields(fields, pixel_size)
    area = int((placed["height"] * placed["width"]).sum())
    if height * width > _SPARSEST * area:
        raise InputError(
            f"well {well}: the positions of its {len(placed)} fields span {height} x {width} pixels, {_SPARSEST} times "
            "what they cover: the positions are wrong, or in another unit."
        )
    return placed, height, width


def _profiles(where: str, plate: PlateSource, names: Sequence[str]) -> dict[str, Mapping]:
    known = plate.metadata.get("flat_field", {})
    without = [name for name in names if name not in known]
    if without:
        logger.warning("%s: no flat-field profile of channel %s: stored as it is", where, ", ".join(map(repr, without)))
    profiles = {name: known[name] for name in names if name in known}
    for name, profile in profiles.items():
        try:
            illumination(profile, 2, 2)
        except InputError as error:
            raise InputError(f"{where}, channel {name!r}: {error}; convert without `flat_field`.") from error
    return profiles


def _first_dtype(planes: pd.DataFrame, absent: Collection[str]) -> list[np.dtype]:
    """The dtype of the first plane that can be read, none if there is none."""
    for plane in planes[~planes["path"].isin([NO_FILE, *absent])].itertuples():
        try:
            return [read_plane(plane.path, plane.page).dtype]
        except InputError as error:
            # Which plane is the first must not depend on what a file server shows at the moment.
            if is_of_the_system(error) or not Path(plane.path).exists():
                raise UnavailableError(f"{plane.path}: cannot be read now; the next tick tries again") from error
        except MemoryError as error:
            if not claims_too_much(plane.path, plane.page, (plane.height, plane.width)):
                raise UnavailableError(f"{plane.path}: reading it takes more memory than there is") from error
        except OSError as error:
            raise UnavailableError(f"{plane.path}: cannot be read now ({error.strerror})") from error
    return []


class Rectangle(NamedTuple):
    """Where a field lies in the mosaic, pixels."""

    y0: int
    x0: int
    height: int
    width: int


def visible_checksum(pixels: np.ndarray, place: Rectangle, covering: Iterable[Rectangle]) -> dict[str, int]:
    """How much of a field other fields hide, and a checksum of the rest.

    pixels : (y, x), of the field, which lies at `place`; covering : the fields that win where they overlap it.

    Returns hidden (pixels) and crc32 (of those that are not hidden, in C order).
    """
    hidden: np.ndarray | None = None
    for other in covering:
        top, left = max(other.y0 - place.y0, 0), max(other.x0 - place.x0, 0)
        bottom = min(other.y0 + other.height - place.y0, place.height)
        right = min(other.x0 + other.width - place.x0, place.width)
        if top < bottom and left < right:
            hidden = np.zeros(pixels.shape, bool) if hidden is None else hidden
            hidden[top:bottom, left:right] = True
    seen = pixels if hidden is None else pixels[~hidden]
    return {"hidden": 0 if hidden is None else int(hidden.sum()), "crc32": zlib.crc32(np.ascontiguousarray(seen).data)}


class Mosaic:
    """Reads regions of a well's mosaic at one time point; keeps the fields of one channel in memory.

    Parameters
    ----------
    plan, planes
        Of the plate, and the planes of the well at that time.
    rows
        A mapping per field and channel with field, channel, y0, x0, height and width, in the order of fields; `read`
        adds status and message (see `equinuclei.plates.field_images.FieldReading`), pages, hidden (pixels that lie
        under fields of lower numbers) and crc32 (of the pixels that do not, in C order).
    """

    def __init__(self, plan: MosaicPlan, planes: pd.DataFrame, rows: list[dict]) -> None:
        self.plan, self.rows = plan, rows
        self.planes = {key: group for key, group in planes.groupby(["field", "channel"])}
        self.channel = -1
        self.loaded: list[tuple[int, int, np.ndarray]] = []
        self.relative: dict[tuple[str, tuple[int, int]], np.ndarray] = {}

    def read(self, channel: int, y: slice, x: slice) -> np.ndarray:
        """Region (y, x) of a channel."""
        if channel != self.channel:
            self.channel, self.loaded = channel, self._load(self.plan.channels[channel].name)
        region = np.zeros((y.stop - y.start, x.stop - x.start), self.plan.dtype)
        for y0, x0, pixels in self.loaded:
            top, bottom = max(y0, y.start), min(y0 + pixels.shape[0], y.stop)
            left, right = max(x0, x.start), min(x0 + pixels.shape[1], x.stop)
            if top < bottom and left < right:
                region[top - y.start : bottom - y.start, left - x.start : right - x.start] = pixels[
                    top - y0 : bottom - y0, left - x0 : right - x0
                ]
        return region

    def _load(self, channel: str) -> list[tuple[int, int, np.ndarray]]:
        loaded: list[tuple[int, int, np.ndarray]] = []
        for row in self.rows:
            if row["channel"] != channel:
                continue
            planes = self.planes.get((row["field"], channel))
            shape = (row["height"], row["width"])
            reading = read_field(planes, shape, self.plan.dtype, self.plan.projection, self.plan.absent)
            row |= {"status": reading.status, "message": reading.message, "pages": reading.pages}
            row |= {"hidden": 0, "crc32": 0}
            pixels = reading.pixels
            if pixels is not None:
                if channel in self.plan.profiles:
                    pixels = flatten(pixels, self._illumination(channel, shape))
                covering = [Rectangle(y0, x0, *other.shape) for y0, x0, other in loaded]
                row |= visible_checksum(pixels, Rectangle(row["y0"], row["x0"], *shape), covering)
                loaded.append((row["y0"], row["x0"], pixels))
        # The last one written wins: rows are in the order of field numbers.
        return loaded[::-1]

    def _illumination(self, channel: str, shape: tuple[int, int]) -> np.ndarray:
        if (channel, shape) not in self.relative:
            self.relative = {(channel, shape): illumination(self.plan.profiles[channel], *shape)}
        return self.relative[channel, shape]
