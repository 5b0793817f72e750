"""A plate as the microscope left it, converted to an OME-Zarr plate and a table of its fields."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import zarr

from equinuclei.checksums import digest
from equinuclei.errors import StoppedError, UnavailableError, raise_problems
from equinuclei.omezarr.metadata import NgffVersion, known_version
from equinuclei.omezarr.plates import Plate, is_plate
from equinuclei.omezarr.writing import (
    add_notes,
    create_image,
    create_plate,
    set_display_ranges,
    write_field_table,
    write_pixels,
)
from equinuclei.plates.field_images import read_field
from equinuclei.plates.ledger import LEDGER, left_out, make_ledger, write_ledger
from equinuclei.plates.mosaic import Mosaic, MosaicPlan
from equinuclei.plates.plate_export import PlateExport
from equinuclei.runtime.files import (
    beside_file,
    done_record,
    is_done,
    make_folder,
    mark_done,
    replacing,
    require_space,
)
from equinuclei.sources.plates import PlateSource, choose_channels
from equinuclei.sources.plates.planes import NO_FILE

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
    "time",
]
"""Of fields.parquet, a row per well, field, channel and time point.

status is one of `equinuclei.plates.field_images.STATUSES`, message says more; y0 and x0 are the pixel of the mosaic
where the field begins, height and width its pixels; planes counts source planes, and path names the first of them. A
field whose status is not ok holds no pixel of its own: it is 0, except where its neighbours overlap it."""


def convert_plate(
    export: PlateExport,
    output: str | Path,
    fields: str | Path,
    workers: int,
    *,
    ledger: str | Path | None = None,
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
        stage positions, rounded to pixels; side by side in reading order where a position of the well is unknown. Of
        several time points, it is (t, c, y, x). Where fields overlap, the one with the lowest number wins. All wells
        have one shape, as viewers want it: that of the largest mosaic. Pixels without a field are 0.
    fields, ledger
        Parquet files to make: with the columns `PLATE_FIELDS_COLUMNS`; and see `equinuclei.plates.ledger`, by default
        `LEDGER` beside the plate.
    workers
        Threads; as many wells are in memory at once, each with the fields of one channel and up to three shards.
    max_bad_fraction, ngff_version
        Largest share of rows whose status is not ok; "0.5" or "0.4".
    flat_field
        Divide fields by their channel's profile of illumination, after projection, where the source has one (see
        `equinuclei.images.flat_field`). The plate's notes name the channels that were corrected.

    Raises
    ------
    InputError
        If the export cannot be used or lacks a channel; channels differ in pixel size; or too many images are bad.
    StoppedError
        If the raw folder is not what the scan found or changes before the end, or `output` exists with other content;
        an UnavailableError if a file that was there cannot be read. Wells that are finished are kept.
    """
    output, version = Path(output), known_version(ngff_version)
    source = export.read()
    where = f"plate {source.name!r} ({export.path})"
    planes = export.choose(source)
    states = _checked_states(where, export, planes, max_bad_fraction)
    plan = _plan(where, export, source, planes, flat_field, states)
    listed = [planes.to_dict("list"), source.planes.to_dict("list"), export.asked(), list(states.values())]
    key = digest(["plate", version, plan.projection, flat_field, source.name, source.metadata, listed])
    tables = _Tables(Path(fields), Path(ledger) if ledger is not None else output.with_name(LEDGER))
    if _is_made(output, tables, key):
        return
    require_space(output, sum(state[0] for state in states.values() if state is not None), where)
    conversion = _Conversion(
        where, export, source, planes, states, plan, key, tables, workers, version, max_bad_fraction
    )
    make_folder(output, key, conversion.build, beside=[tables.fields, tables.ledger])


def _checked_states(
    where: str, export: PlateExport, planes: pd.DataFrame, max_bad_fraction: float
) -> dict[str, list[int] | None]:
    """See `_file_states`. Raises if a file was there at the scan and is not, or too many are absent."""
    states = _file_states(planes)
    absent = [path for path, state in states.items() if state is None]
    export.require_present(where, absent)
    _check_share(where, len(states), [f"{path} is missing" for path in absent], max_bad_fraction)
    return states


def _plan(
    where: str,
    export: PlateExport,
    source: PlateSource,
    planes: pd.DataFrame,
    flat_field: bool,
    states: Mapping[str, list[int] | None],
) -> MosaicPlan:
    projection = "mean" if export.z == "mean" else "max"
    names = [name for name in choose_channels(source, export.channels) if name in set(planes["channel"])]
    absent = frozenset(path for path, state in states.items() if state is None)
    return MosaicPlan.of(where, source, planes, names, projection, flat_field, absent)


def _file_states(planes: pd.DataFrame) -> dict[str, list[int] | None]:
    """Sizes and times of the files of the planes, by path. Raises UnavailableError if one cannot be looked at."""
    return {path: _file_state(Path(path)) for path in planes["path"].unique() if path != NO_FILE}


def _file_state(path: Path) -> list[int] | None:
    """Size and time of a file, or of the metadata of a Zarr array; None if it is not there."""
    try:
        if path.is_dir():
            path = next((path / name for name in ("zarr.json", ".zarray") if (path / name).is_file()), path)
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be looked at now ({error.strerror})") from error
    return [facts.st_size, facts.st_mtime_ns]


def _is_made(output: Path, tables: "_Tables", key: str) -> bool:
    """Whether the conversion of this key is finished; StoppedError if something else stands in its place."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if is_plate(output) and Plate(output).notes.get("key") == key:
        return tables.exist()
    raise StoppedError(f"{output} exists and was made from other inputs: remove it first.")


def _check_share(where: str, total: int, problems: Sequence[str], limit: float) -> None:
    """InputError if more of the images than the limit allows have a problem (one each)."""
    if len(problems) > limit * total:
        raise_problems(
            f"{where}: {len(problems)} of {total} images are bad, more than max_bad_fraction {limit:g}; "
            "raise `plates: {max_bad_fraction: ...}` if the plate is to go ahead without them",
            problems,
        )


@dataclass(frozen=True)
class _Tables:
    """The tables that are made with a plate: its fields, and the ledger of its raw folder."""

    fields: Path
    ledger: Path

    def exist(self) -> bool:
        return self.fields.is_file() and self.ledger.is_file()


@dataclass(frozen=True)
class _Conversion:
    """A plate that is being converted (see `convert_plate`)."""

    where: str
    export: PlateExport
    source: PlateSource
    planes: pd.DataFrame
    states: Mapping[str, list[int] | None]
    plan: MosaicPlan
    key: str
    tables: _Tables
    workers: int
    version: NgffVersion
    max_bad_fraction: float

    def build(self, folder: Path) -> None:
        """Make the plate in a folder for unfinished work, then its tables."""
        if not is_done(folder, "plate"):
            create_plate(folder, self.source.name, self.plan.wells, self.version, self._notes())
            mark_done(folder, "plate")
        plate = Plate(folder)
        rows = self._convert_wells(plate)
        if passed := self._faults_that_passed(rows):
            for well in passed:
                (folder / f".done-{well}").unlink()
            logger.warning("%s: what could not be read of wells %s can be read now", self.where, ", ".join(passed))
            rows = self._convert_wells(plate)
        self._require_unchanged()
        fields = self._field_table(rows)
        write_field_table(plate, self.plan.places)
        set_display_ranges(plate)
        ledger = make_ledger(self.source, self.planes, self.plan, rows, self.export.folder)
        add_notes(plate, {"ledger": write_ledger(ledger, beside_file(folder, self.tables.ledger))})
        for one in left_out(ledger, self.export.asked()):
            logger.warning("%s: %s%s", self.where, one.text, "" if one.needs_raw else " (as asked, or never there)")
        with replacing(beside_file(folder, self.tables.fields)) as temporary:
            fields.to_parquet(temporary, index=False)

    def _require_unchanged(self) -> None:
        """Raise StoppedError if an image changed since the beginning: files may still be copied, though quietly."""
        now = _file_states(self.planes)
        if changed := [path for path, state in self.states.items() if now[path] != state]:
            raise StoppedError(
                f"{self.where}: {len(changed)} images changed while they were converted, such as {changed[0]}: the "
                "next tick looks at the plate again"
            )
        self.export.require_as_scanned()

    def _notes(self) -> dict:
        return {
            "content": "plate",
            "key": self.key,
            "layout": self.source.layout,
            "metadata": self.source.metadata,
            "flat_field_corrected": list(self.plan.profiles),
            "asked": self.export.asked(),
            "times": list(self.plan.times),
        }

    def _faults_that_passed(self, rows: list[dict]) -> list[str]:
        """Wells with a field that was not read, and can be read at the end: a file server did not show all of it."""
        passed = {}
        for row in rows:
            if row["status"] in ("ok", "missing") or row["well"] in passed:
                continue
            planes = self.plan.wells[row["well"]]
            of_field = planes[(planes["field"] == row["field"]) & (planes["channel"] == row["channel"])]
            at_time = of_field[of_field["time"] == row["time"]]
            shape = (row["height"], row["width"])
            reading = read_field(at_time, shape, self.plan.dtype, self.plan.projection, self.plan.absent)
            if reading.status == "ok":
                passed[row["well"]] = True
        return list(passed)

    def _convert_wells(self, plate: Plate) -> list[dict]:
        """Convert what is not converted yet; returns a row per field, channel and time of all wells."""
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
        return [row for well in self.plan.wells for row in (done_record(plate.path, well) or {})["rows"]]

    def _field_table(self, rows: list[dict]) -> pd.DataFrame:
        """The table of all fields; logs the bad ones, and raises InputError if they are too many."""
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
    times = len(plan.times) or None
    image = create_image(plate, well, plan.channels, plan.shape, plan.dtype, plan.pixel_size, times)
    rows: list[dict] = []
    for time, imaged in enumerate(plan.imaged):
        at_time = planes[planes["time"] == time]
        channels = [channel.name for channel in plan.channels if channel.name in imaged]
        of_time = [{"well": well, "time": time, **row} for row in _rows_of_time(channels, at_time, fields)]
        write_pixels(image, Mosaic(plan, at_time, of_time).read, time)
        rows += of_time
    mark_done(plate.path, well, {"rows": rows})


def _rows_of_time(channels: Sequence[str], planes: pd.DataFrame, fields: pd.DataFrame) -> list[dict]:
    """A row per field and channel of a well at a time point: where it lies, and of which planes it is made."""
    of_field = dict(list(planes.groupby(["field", "channel"])))
    return [
        {
            "field": int(place.field),
            "channel": channel,
            **{name: int(getattr(place, name)) for name in ("y0", "x0", "height", "width")},
            **_about_planes(of_field.get((place.field, channel), planes.iloc[:0])),
        }
        for place in fields.itertuples()
        for channel in channels
    ]


def _about_planes(planes: pd.DataFrame) -> dict:
    if planes.empty:
        return {"planes": 0, "path": "", "acquired": ""}
    first = planes.iloc[0]
    return {"planes": len(planes), "path": first["path"], "acquired": first["acquired"]}
