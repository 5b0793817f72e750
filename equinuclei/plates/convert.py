"""A plate as the microscope left it, converted to an OME-Zarr plate and a table of its fields."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import zarr

from equinuclei.checksums import digest
from equinuclei.errors import InputError, raise_problems
from equinuclei.omezarr.metadata import NgffVersion, known_version
from equinuclei.omezarr.plates import Plate, is_plate
from equinuclei.omezarr.writing import create_image, create_plate, set_display_ranges, write_field_table, write_pixels
from equinuclei.plates.mosaic import Mosaic, MosaicPlan
from equinuclei.runtime.files import is_done, make_folder, mark_done, replacing, require_space, write_json
from equinuclei.sources.plates import PlateSource, choose_channels, choose_planes, find_plate_source

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
"""Of fields.parquet, a row per well, field and channel.

status is one of `equinuclei.plates.field_images.STATUSES`, message says more; y0 and x0 are the pixel of the mosaic
where the field begins, height and width its pixels; planes counts source planes, and path names the first of them. A
field whose status is not ok holds no pixel of its own: it is 0, except where its neighbours overlap it."""


@dataclass(frozen=True)
class PlateExport:
    """The images of a plate that are to be converted.

    path : folder of the plate as the instrument left it, its index file, or a table of planes
    layout : one of `equinuclei.sources.plates.LAYOUTS`; None: the first that fits
    channels : names or emission wavelengths in nm; None: all
    z : a plane from 0, "max" or "mean"; None: see `equinuclei.sources.plates.choose_planes`
    t : time point; None: the first
    """

    path: str | Path
    layout: str | None = None
    channels: Sequence[str | float] | None = None
    z: int | str | None = None
    t: int | None = None


def convert_plate(
    export: PlateExport,
    output: str | Path,
    fields: str | Path,
    workers: int,
    *,
    max_bad_fraction: float = 0.1,
    ngff_version: str = "0.5",
    flat_field: bool = False,
) -> None:
    """Convert a plate to OME-Zarr, and record what became of every field.

    An interrupted conversion of the same files continues with the first well that is not whole. Pixels are stored as
    they are, unless `flat_field` asks for a correction.

    Parameters
    ----------
    export
        The images to convert.
    output
        OME-Zarr plate to make (see `equinuclei.omezarr.plates`): per well a mosaic (c, y, x) of its fields at their
        stage positions, rounded to pixels; side by side in reading order where a position of the well is unknown. Where
        fields overlap, the one with the lowest number wins. All wells have one shape, as viewers want it: that of the
        largest mosaic. Pixels without a field are 0.
    fields
        Parquet file to make, with the columns `PLATE_FIELDS_COLUMNS`.
    workers
        Threads; as many wells are in memory at once, each with the fields of one channel and up to three shards.
    max_bad_fraction
        Largest share of rows whose status is not ok.
    ngff_version
        "0.5" or "0.4".
    flat_field
        Divide fields by their channel's profile of illumination, after projection, where the source has one (see
        `equinuclei.images.flat_field`). The plate's notes name the channels that were corrected.

    Raises
    ------
    InputError
        If the export cannot be used or lacks a channel; channels differ in pixel size; more than `max_bad_fraction`
        of the images are bad; or `output` exists with other content.
    """
    output, fields, version = Path(output), Path(fields), known_version(ngff_version)
    source = find_plate_source(export.path, export.layout)
    where = f"plate {source.name!r} ({export.path})"
    planes = choose_planes(source, export.channels, export.z, export.t)
    states = _file_states(where, planes, max_bad_fraction)
    projection = "mean" if export.z == "mean" else "max"
    plan = MosaicPlan.of(where, source, planes, choose_channels(source, export.channels), projection, flat_field)
    listed = [planes.to_dict("list"), source.planes.to_dict("list")]
    # The empty text belongs to the key of plates that were made before.
    key = digest(["plate", "", version, projection, flat_field, source.name, source.metadata, listed, states])
    if _is_made(output, fields, key):
        return
    require_space(output, sum(state[0] for state in states if state is not None), where)
    conversion = _Conversion(where, source, plan, key, fields, workers, version, max_bad_fraction)
    make_folder(output, key, conversion.build)


def _file_states(where: str, planes: pd.DataFrame, max_bad_fraction: float) -> list[list[int] | None]:
    """Sizes and times of the files of the planes; InputError if too many are missing."""
    states = {path: _file_state(Path(path)) for path in planes["path"].unique()}
    missing = [path for path, state in states.items() if state is None]
    _check_share(where, len(states), [f"{path} is missing" for path in missing], max_bad_fraction)
    return list(states.values())


def _file_state(path: Path) -> list[int] | None:
    """Size and time of a file, or of the metadata of a Zarr array; None if it is not there."""
    if path.is_dir():
        path = next((path / name for name in ("zarr.json", ".zarray") if (path / name).is_file()), path)
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _is_made(output: Path, fields: Path, key: str) -> bool:
    """Whether the conversion of this key is finished; InputError if something else stands in its place."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if is_plate(output) and Plate(output).notes.get("key") == key and fields.is_file():
        return True
    raise InputError(f"{output} exists and was made from other inputs: remove it first.")


def _check_share(where: str, total: int, problems: Sequence[str], limit: float) -> None:
    """InputError if more of the images than the limit allows have a problem (one each)."""
    if len(problems) > limit * total:
        raise_problems(
            f"{where}: {len(problems)} of {total} images are bad, more than max_bad_fraction {limit:g}; "
            "copy the plate again, or raise the limit",
            problems,
        )


@dataclass(frozen=True)
class _Conversion:
    """A plate that is being converted (see `convert_plate`)."""

    where: str
    source: PlateSource
    plan: MosaicPlan
    key: str
    fields: Path
    workers: int
    version: NgffVersion
    max_bad_fraction: float

    def build(self, folder: Path) -> None:
        """Make the plate in a folder for unfinished work, then the table of fields."""
        if not is_done(folder, "plate"):
            create_plate(folder, self.source.name, self.plan.wells, self.version, self._notes())
            mark_done(folder, "plate")
        plate = Plate(folder)
        self._convert_wells(plate)
        table = self._field_rows(folder)
        set_display_ranges(plate)
        with replacing(self.fields) as temporary:
            table.to_parquet(temporary, index=False)

    def _notes(self) -> dict:
        converted = {channel.name for channel in self.plan.channels}
        return {
            "content": "plate",
            "key": self.key,
            "layout": self.source.layout,
            "metadata": self.source.metadata,
            "flat_field_corrected": list(self.plan.profiles),
            "channels_left_out": sorted(set(self.source.planes["channel"]) - converted),
        }

    def _convert_wells(self, plate: Plate) -> None:
        unfinished = [well for well in self.plan.wells if not is_done(plate.path, well)]
        logger.info("%s: %d wells, %d to convert", self.where, len(self.plan.wells), len(unfinished))
        pool = ThreadPoolExecutor(self.workers)
        # Zarr's own threads stay within the same number.
        with zarr.config.set({"async.concurrency": self.workers, "threading.max_workers": self.workers}):
            try:
                list(pool.map(partial(_convert_well, plate, self.plan), unfinished))
            finally:
                # After a failure, wells that have not begun need not begin.
                pool.shutdown(cancel_futures=True)

    def _field_rows(self, folder: Path) -> pd.DataFrame:
        """The table of all fields; logs the bad ones, and raises InputError if they are too many."""
        rows = [
            row for well in self.plan.wells for row in json.loads(_rows_file(folder, well).read_text("utf-8"))["rows"]
        ]
        table = pd.DataFrame(rows, columns=PLATE_FIELDS_COLUMNS)
        problems = [
            f"well {row.well}, field {row.field}, channel {row.channel!r}: {row.status}: {row.message}"
            for row in table[table["status"] != "ok"].itertuples()
        ]
        _check_share(self.where, len(table), problems, self.max_bad_fraction)
        for problem in problems:
            logger.warning("%s", problem)
        return table


def _convert_well(plate: Plate, plan: MosaicPlan, well: str) -> None:
    planes, fields = plan.wells[well], plan.places[well]
    rows = [
        {
            "well": well,
            "field": int(place.field),
            "channel": channel.name,
            **{name: int(getattr(place, name)) for name in ("y0", "x0", "height", "width")},
            **_about_planes(planes[(planes["field"] == place.field) & (planes["channel"] == channel.name)]),
        }
        for place in fields.itertuples()
        for channel in plan.channels
    ]
    image = create_image(plate, well, plan.channels, plan.shape, plan.dtype, plan.pixel_size)
    write_pixels(image, Mosaic(plan, planes, rows).read)
    write_field_table(image, fields)
    table = [{name: row[name] for name in PLATE_FIELDS_COLUMNS} for row in rows]
    write_json(_rows_file(plate.path, well), {"rows": table})
    mark_done(plate.path, well)


def _about_planes(planes: pd.DataFrame) -> dict:
    if planes.empty:
        return {"planes": 0, "path": "", "acquired": ""}
    first = planes.iloc[0]
    return {"planes": len(planes), "path": first["path"], "acquired": first["acquired"]}


def _rows_file(folder: Path, well: str) -> Path:
    # A marker too: it is removed when the plate is whole.
    return folder / f".done-{well}.json"
