"""A plate as the microscope left it, converted to an OME-Zarr plate and a table of its fields."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import zarr

from equinuclei.checksums import digest
from equinuclei.errors import InputError, raise_problems
from equinuclei.images.flat_field import flatten, illumination
from equinuclei.omezarr import plates as plate_store
from equinuclei.runtime.files import is_done, mark_done, replacing, require_space, work_folder, write_json
from equinuclei.sources.plates import PlateSource, choose_channels, choose_planes, find_plate_source, read_plane
from equinuclei.sources.plates.planes import image_header

logger = logging.getLogger("equinuclei.plates.convert")

PLATE_FIELDS_COLUMNS = [
    "well",
    "field",
    "channel",
    "status",
    "message",
    "y0",
    "x0",
    "height",
    "width",
    "planes",
    "path",
    "acquired",
]
STATUSES = ("ok", "missing", "truncated", "unreadable", "wrong size")

# Fields can lie far apart in a well; beyond this, a position is an error, and the mosaic would fill a disk.
_SPARSEST = 400  # pixels of a mosaic per pixel of its fields


def convert_plate(
    source: Mapping,
    output: str | Path,
    fields: str | Path,
    workers: int,
    code: str = "",
    max_bad_fraction: float = 0.1,
    ngff_version: str = "0.5",
    flat_field: bool = False,
) -> None:
    """Convert a plate to OME-Zarr, and tell of every field what became of it.

    An interrupted conversion of the same files continues with the first well that is not whole. Pixels are stored as
    they are, unless `flat_field` asks for a correction.

    Parameters
    ----------
    source
        `path`, and optionally `layout` (one of `equinuclei.sources.plates.LAYOUTS`), `channels` (names or emission
        wavelengths in nm; all by default), `z` (a plane from 0, "max" or "mean"; see
        `equinuclei.sources.plates.choose_planes`) and `t` (time point; the first by default).
    output
        OME-Zarr plate to make (see `equinuclei.omezarr.plates`): per well a mosaic (c, y, x) of its fields at their
        stage positions, rounded to pixels; side by side in reading order where a position of the well is unknown. Where
        fields overlap, the one with the lowest number wins. All wells have one shape, as viewers want it: that of the
        largest mosaic. Pixels without a field are 0.
    fields
        Parquet file to make, with the columns `PLATE_FIELDS_COLUMNS` and a row per well, field and channel. status is
        one of `STATUSES`, message says more; y0 and x0 are the pixel of the mosaic where the field begins, height and
        width its pixels; planes counts source planes, and path names the first of them. A field whose status is not
        ok holds no pixel of its own: it is 0, but for the overlap with its neighbours.
    workers
        Threads; as many wells are in memory at once, each with the fields of one channel and up to three shards.
    code
        Digest of the code. Unfinished work of other code is not continued.
    max_bad_fraction
        Largest share of rows whose status is not ok.
    ngff_version
        "0.5" or "0.4".
    flat_field
        Divide fields by their channel's profile of illumination, after projection, where the source has one (see
        `equinuclei.images.flat_field`). The plate's attributes name the channels that it was done to.

    Raises
    ------
    InputError
        If the source cannot be used or lacks a channel; channels differ in pixel size; more than `max_bad_fraction`
        of the images are bad; or `output` exists with other content.
    """
    output, fields = Path(output), Path(fields)
    unknown = sorted(set(source) - {"path", "layout", "channels", "z", "t"})
    if unknown or not source.get("path"):
        raise InputError(
            f"source of a plate: unknown key {unknown[0]!r}." if unknown else "source of a plate: needs 'path'."
        )
    if ngff_version not in plate_store.NGFF_VERSIONS:
        raise InputError(f"ngff_version {ngff_version!r} is not one of {', '.join(plate_store.NGFF_VERSIONS)}.")
    plate = find_plate_source(source["path"], source.get("layout"))
    planes = choose_planes(plate, source.get("channels"), source.get("z"), source.get("t"))
    projection = "mean" if source.get("z") == "mean" else "max"
    states = {path: _file_state(Path(path)) for path in planes["path"].unique()}
    missing = [path for path, state in states.items() if state is None]
    where = f"plate {plate.name!r} ({source['path']})"
    _check_share(where, len(missing), len(states), [f"{path} is missing" for path in missing], max_bad_fraction)
    layout = _Layout.of(where, plate, planes, choose_channels(plate, source.get("channels")), projection, flat_field)
    listed, found = [planes.to_dict("list"), plate.planes.to_dict("list")], list(states.values())
    key = digest(["plate", code, ngff_version, projection, flat_field, plate.name, plate.metadata, listed, found])
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        made = plate_store.plate_attributes(output).get("equinuclei", {}).get("key")
        if made == key and fields.is_file():
            return
        raise InputError(f"{output} exists and was made from other inputs: remove it first.")
    require_space(output, sum(state[0] for state in found if state is not None), where)
    with work_folder(output, key) as folder:
        if folder is None:
            return
        if not is_done(folder, "plate"):
            about = {"content": "plate", "key": key, "layout": plate.layout, "metadata": plate.metadata}
            about["flat_field_corrected"] = list(layout.profiles)
            about["channels_left_out"] = sorted(set(plate.planes["channel"]) - {c.name for c in layout.channels})
            wells = list(layout.wells)
            plate_store.create_plate(folder, plate.name, wells, ngff_version, {"equinuclei": about})
            mark_done(folder, "plate")
        unfinished = [well for well in layout.wells if not is_done(folder, well)]
        logger.info("%s: %d wells, %d to convert", where, len(layout.wells), len(unfinished))
        pool = ThreadPoolExecutor(workers)
        # Zarr's own threads stay within the same number.
        with zarr.config.set({"async.concurrency": workers, "threading.max_workers": workers}):
            try:
                list(pool.map(partial(_convert_well, folder, layout), unfinished))
            finally:
                # After a failure, wells that have not begun need not begin.
                pool.shutdown(cancel_futures=True)
        rows = [row for well in layout.wells for row in json.loads(_rows_file(folder, well).read_text("utf-8"))["rows"]]
        table = pd.DataFrame(rows, columns=PLATE_FIELDS_COLUMNS)
        bad = table[table["status"] != "ok"]
        problems = [
            f"well {row.well}, field {row.field}, channel {row.channel!r}: {row.status}: {row.message}"
            for row in bad.itertuples()
        ]
        _check_share(where, len(bad), len(table), problems, max_bad_fraction)
        for problem in problems:
            logger.warning("%s", problem)
        plate_store.set_display_ranges(folder)
        with replacing(fields) as temporary:
            table.to_parquet(temporary, index=False)


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
        position or the pixel size is unknown, fields stand side by side in reading order, in as many columns as rows
        or one more, each in a cell as large as the largest field.
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
        placed["y0"] = number // columns * int(placed["height"].max())
        placed["x0"] = number % columns * int(placed["width"].max())
    placed = placed[["field", "y0", "x0", "height", "width"]].astype("int64")
    return placed, int((placed["y0"] + placed["height"]).max()), int((placed["x0"] + placed["width"]).max())


@dataclass(frozen=True)
class _Layout:
    """What is to be written: the planes by well, and what all wells have in common."""

    wells: Mapping[str, pd.DataFrame]
    places: Mapping[str, pd.DataFrame]  # of the fields of a well in its mosaic
    shape: tuple[int, int]  # of every mosaic: viewers lay out wells of one shape alone
    channels: Sequence[plate_store.PlateChannel]
    pixel_size: float
    dtype: np.dtype
    projection: str
    profiles: Mapping[str, Mapping]  # of illumination, of the channels to be corrected

    @classmethod
    def of(
        cls,
        where: str,
        plate: PlateSource,
        planes: pd.DataFrame,
        names: Sequence[str],
        projection: str,
        flat_field: bool,
    ) -> "_Layout":
        sizes = planes.groupby("channel")["pixel_size"].median()
        known = sizes.dropna()
        if len(known) and known.max() > known.min() * 1.001:
            listed = ", ".join(f"{name!r} {size:g}" for name, size in known.items())
            raise InputError(f"{where}: channels differ in pixel size (micrometres): {listed}; choose channels of one.")
        pixel_size = float(known.iloc[0]) if len(known) else math.nan
        channels, dtypes = [], []
        for name in names:
            wavelength = plate.planes.loc[plate.planes["channel"] == name, "wavelength"].iloc[0]
            channels.append(plate_store.PlateChannel(name, float(wavelength)))
            dtypes += _first_dtype(planes[planes["channel"] == name])
        if not dtypes:
            raise InputError(f"{where}: none of {len(planes)} images can be read: was the plate copied whole?")
        # A field that has other channels alone is a field all the same: its images are missing.
        others = plate.planes.assign(height=planes["height"].iloc[0], width=planes["width"].iloc[0])
        places = pd.concat([planes, others]).drop_duplicates(["well", "field"])
        by_well = dict(list(places.groupby("well")))
        wells = dict(list(planes.groupby("well")))
        ordered = list(dict.fromkeys(plate.planes["well"]))
        placed = {well: _place(well, by_well[well], pixel_size) for well in ordered}
        return cls(
            {well: wells.get(well, planes.iloc[:0]) for well in ordered},
            {well: fields for well, (fields, _, _) in placed.items()},
            (max(height for _, height, _ in placed.values()), max(width for _, _, width in placed.values())),
            channels,
            pixel_size,
            np.result_type(*dtypes),
            projection,
            _profiles(where, plate, names) if flat_field else {},
        )


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


def _first_dtype(planes: pd.DataFrame) -> list[np.dtype]:
    """The dtype of the first plane that can be read, none if there is none."""
    for plane in planes.itertuples():
        try:
            return [read_plane(plane.path, plane.page).dtype]
        except InputError:
            continue
    return []


def _convert_well(folder: Path, layout: _Layout, well: str) -> None:
    planes = layout.wells[well]
    fields = layout.places[well]
    rows = [
        {
            "well": well,
            "field": int(place.field),
            "channel": channel.name,
            **{name: int(getattr(place, name)) for name in ("y0", "x0", "height", "width")},
            **_about_planes(planes[(planes["field"] == place.field) & (planes["channel"] == channel.name)]),
        }
        for place in fields.itertuples()
        for channel in layout.channels
    ]
    mosaic = _Mosaic(layout, planes, rows)
    plate_store.create_well_image(folder, well, layout.channels, *layout.shape, layout.dtype, layout.pixel_size)
    plate_store.write_well(folder, well, mosaic.read)
    plate_store.write_field_table(folder, well, fields)
    write_json(_rows_file(folder, well), {"rows": [{name: row[name] for name in PLATE_FIELDS_COLUMNS} for row in rows]})
    mark_done(folder, well)


def _rows_file(folder: Path, well: str) -> Path:
    # A marker too: the work folder drops it when the plate is whole.
    return folder / f".done-{well}.json"


def _about_planes(planes: pd.DataFrame) -> dict:
    if planes.empty:
        return {"planes": 0, "path": "", "acquired": ""}
    first = planes.iloc[0]
    return {"planes": len(planes), "path": first["path"], "acquired": first["acquired"]}


class _Mosaic:
    """Reads regions of a well's mosaic; keeps the fields of one channel in memory."""

    def __init__(self, layout: _Layout, planes: pd.DataFrame, rows: list[dict]) -> None:
        self.layout, self.rows = layout, rows
        self.planes = {key: group for key, group in planes.groupby(["field", "channel"])}
        self.channel, self.loaded = -1, []
        self.relative: dict[tuple[str, tuple[int, int]], np.ndarray] = {}

    def read(self, channel: int, y: slice, x: slice) -> np.ndarray:
        """Region (y, x) of a channel; fills in the status of its rows on the way."""
        if channel != self.channel:
            self.channel, self.loaded = channel, self._load(self.layout.channels[channel].name)
        region = np.zeros((y.stop - y.start, x.stop - x.start), self.layout.dtype)
        for y0, x0, pixels in self.loaded:
            top, bottom = max(y0, y.start), min(y0 + pixels.shape[0], y.stop)
            left, right = max(x0, x.start), min(x0 + pixels.shape[1], x.stop)
            if top < bottom and left < right:
                region[top - y.start : bottom - y.start, left - x.start : right - x.start] = pixels[
                    top - y0 : bottom - y0, left - x0 : right - x0
                ]
        return region

    def _load(self, channel: str) -> list[tuple[int, int, np.ndarray]]:
        loaded = []
        for row in self.rows:
            if row["channel"] != channel:
                continue
            planes = self.planes.get((row["field"], channel))
            shape = (row["height"], row["width"])
            row["status"], row["message"], pixels = read_field(planes, shape, self.layout.dtype, self.layout.projection)
            if pixels is not None:
                if channel in self.layout.profiles:
                    pixels = flatten(pixels, self._illumination(channel, shape))
                loaded.append((row["y0"], row["x0"], pixels))
        # The last one written wins: rows are in the order of field numbers.
        return loaded[::-1]

    def _illumination(self, channel: str, shape: tuple[int, int]) -> np.ndarray:
        if (channel, shape) not in self.relative:
            self.relative = {(channel, shape): illumination(self.layout.profiles[channel], *shape)}
        return self.relative[channel, shape]


def read_field(
    planes: pd.DataFrame | None, shape: tuple[int, int], dtype: np.dtype, projection: str = "max"
) -> tuple[str, str, np.ndarray | None]:
    """Read a field of one channel.

    Parameters
    ----------
    planes
        Rows with path and page: one, or several to project. None or no row: the field is missing.
    shape
        Height and width expected, pixels.
    dtype
        Pixel type that the result has; what it does not hold is unreadable.
    projection
        "max" or "mean" (rounded to the nearest integer, halves to even).

    Returns
    -------
    str, str
        One of `STATUSES`, and what is wrong, "" if nothing is.
    numpy.ndarray or None
        Pixels (y, x) of `dtype`; None unless the status is ok.
    """
    if planes is None or planes.empty:
        return "missing", "the plate has no image of this field and channel", None
    result = None
    for plane in planes.itertuples():
        try:
            # A damaged header can claim an image of gigabytes: it is not decoded to find that out.
            if plane.page == 0 and Path(plane.path).is_file():
                found = image_header(plane.path)[:2]
                if found != tuple(shape):
                    return "wrong size", _wrong_size(plane.path, found, shape), None
            pixels = read_plane(plane.path, plane.page)
        except InputError as error:
            return _why(Path(plane.path)), str(error), None
        except Exception as error:
            # One damaged file, whatever it makes a decoder do, must not end the conversion of a plate.
            return "unreadable", f"{plane.path}: {type(error).__name__}: {error}.", None
        if pixels.shape != tuple(shape):
            return "wrong size", _wrong_size(plane.path, pixels.shape, shape), None
        if not np.can_cast(pixels.dtype, dtype):
            return "unreadable", f"{plane.path}: pixels are {pixels.dtype}, those of the plate {dtype}.", None
        if len(planes) == 1:
            return "ok", "", pixels.astype(dtype, copy=False)
        if projection == "mean":
            result = pixels.astype(np.float64) if result is None else result + pixels
        else:
            result = pixels if result is None else np.maximum(result, pixels)
    if projection == "mean":
        result = result / len(planes)
        result = np.rint(result) if dtype.kind in "iu" else result
    return "ok", "", result.astype(dtype)


def _wrong_size(path: str, found: Sequence[int], expected: Sequence[int]) -> str:
    found, expected = ("{} x {} pixels".format(*size) for size in (found, expected))
    return f"{path}: {found}, expected {expected}."


def _why(path: Path) -> str:
    """Status of a file that cannot be read."""
    if not path.exists():
        return "missing"
    if path.is_dir():
        return "unreadable"
    size = path.stat().st_size
    if size == 0:
        return "truncated"
    with path.open("rb") as file:
        start, end = file.read(16), b""
        if path.suffix.lower() == ".png" and size > 16:
            file.seek(-12, 2)
            end = file.read()
    if start.startswith(b"\x89PNG"):
        return "unreadable" if b"IEND" in end else "truncated"
    if start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "unreadable"
    return "truncated" if _ends_early(path, size) else "unreadable"


def _ends_early(path: Path, size: int) -> bool:
    """Whether a TIFF file names bytes behind its end."""
    try:
        image_header(path)
        with tifffile.TiffFile(path, is_ome=False) as tiff:
            return any(
                offset + count > size
                for page in tiff.pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
    except Exception:  # a header that breaks off has many ways to fail
        return True


def _file_state(path: Path) -> list[int] | None:
    """Size and time of a file, or of the metadata of a Zarr array; None if it is not there."""
    if path.is_dir():
        path = next((path / name for name in ("zarr.json", ".zarray") if (path / name).is_file()), path)
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _check_share(where: str, bad: int, total: int, problems: Sequence[str], limit: float) -> None:
    if bad > limit * total:
        raise_problems(
            f"{where}: {bad} of {total} images are bad, more than max_bad_fraction {limit:g}; "
            "copy the plate again, or raise the limit",
            problems,
        )
