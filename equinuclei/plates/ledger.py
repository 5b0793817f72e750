"""The ledger of a plate's raw folder: what became of every plane and every file in it."""

import io
import os
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.errors import InputError, UnavailableError, is_of_the_system
from equinuclei.omezarr.plates import Plate
from equinuclei.plates.mosaic import MosaicPlan, Rectangle, visible_checksum
from equinuclei.plates.raw_folder import unavailable
from equinuclei.runtime.files import replacing
from equinuclei.sources.plates import PROJECTION, PlateSource
from equinuclei.sources.plates.planes import NO_FILE, image_header

LEDGER = "planes.parquet"
"""Name of the file, beside `plate.ome.zarr`."""

LEDGER_COLUMNS = [
    "path", "page", "well", "field", "channel", "z", "t", "acquisition", "outcome", "detail", "time", "y0", "x0",
    "height", "width", "hidden", "crc32",
]  # fmt: skip
"""A row per plane, and per file that holds none.

path is relative to the raw folder where it lies in it, "" if there is no file; page counts from 0; z is `PROJECTION`
for a projection by the instrument. outcome is one of `OUTCOMES`, detail says more. Of converted planes, time is the
index along the axis t of the plate, y0, x0, height and width are the field's place in the mosaic of its well (pixels),
hidden counts the pixels that lie under fields with a lower number, and crc32 is of those that do not, in C order. What
does not apply is -1 or ""."""

CONVERTED, PROJECTED, CORRECTED = "converted", "projected", "corrected"
OTHER_CHANNEL, OTHER_ACQUISITION, OTHER_TIME, OTHER_Z = (
    "other channel", "other acquisition", "other time point", "other z",
)  # fmt: skip
BAD = ("missing", "truncated", "unreadable", "wrong size")
NOT_RECORDED, PLANNED = "not recorded", "planned and absent"
PAGE, SET_ASIDE, UNKNOWN, NO_PIXELS = "page not listed", "set aside", "unknown file", "no pixels"

OUTCOMES = (
    CONVERTED, PROJECTED, CORRECTED, OTHER_CHANNEL, OTHER_ACQUISITION, OTHER_TIME, OTHER_Z, *BAD, NOT_RECORDED, PLANNED,
    PAGE, SET_ASIDE, UNKNOWN, NO_PIXELS,
)  # fmt: skip

# Files without pixels, by their ending and by their name; what is not listed may hold pixels.
_TEXT_FILES = re.compile(
    r".*\.(xml|txt|csv|tsv|tab|json|htd|mlf|mrf|mes|wpi|wpp|log|ini|pdf|html?|md|xlsx?|xdce|dat\.xml|kw\.txt|yaml|yml)"
    r"|\._.*|\.ds_store|thumbs\.db|desktop\.ini|\.z(attrs|array|group|metadata)|zarr\.json",
    re.IGNORECASE | re.DOTALL,
)
_NO_PLACE = {"time": -1, "y0": -1, "x0": -1, "height": -1, "width": -1, "hidden": 0, "crc32": -1}
_NO_PLANE = {"page": -1, "well": "", "field": -1, "channel": "", "z": -1, "t": -1, "acquisition": -1}


def make_ledger(
    source: PlateSource, chosen: pd.DataFrame, plan: MosaicPlan, rows: Sequence[Mapping], folder: Path
) -> pd.DataFrame:
    """The ledger of a plate that was converted.

    Parameters
    ----------
    source, chosen
        The plate, and those of its planes that were to be converted, with the column time (see `MosaicPlan.of`).
    plan
        By which they were.
    rows
        What became of them: well, field, channel, time, status, message, planes (a count), y0, x0, height, width,
        hidden, crc32 and pages (by path, of the files that were opened).
    folder
        The raw folder. All its files are accounted for, those below subfolders too; links to folders are not followed.
        Raises UnavailableError if a part of it cannot be looked at.

    Returns
    -------
    pandas.DataFrame
        With the columns `LEDGER_COLUMNS`.
    """
    planes = _planes_with_outcome(source, chosen, plan, rows)
    planned = source.planned.assign(outcome=PLANNED, detail="", path=NO_FILE, **_NO_PLACE)
    pages = {path: count for row in rows for path, count in row["pages"].items()}
    others = pd.DataFrame([*_unlisted_pages(source, chosen, pages, plan.absent), *_other_files(source, folder)])
    table = pd.concat([planes, planned, others], ignore_index=True)
    for column, value in {**_NO_PLANE, **_NO_PLACE}.items():
        table[column] = table[column].fillna(value).astype(type(value)) if column in table else value
    table["path"] = [_relative(path, folder) for path in table["path"]]
    return table[LEDGER_COLUMNS]


def _planes_with_outcome(
    source: PlateSource, chosen: pd.DataFrame, plan: MosaicPlan, rows: Sequence[Mapping]
) -> pd.DataFrame:
    """The planes of a source, with outcome, detail and place."""
    keys = ["well", "field", "channel", "z", "t"]
    planes = source.planes.merge(chosen[[*keys, "time"]], on=keys, how="left")
    is_chosen = planes["time"].notna().to_numpy()
    became = pd.DataFrame([{name: row[name] for name in _ROW_COLUMNS} for row in rows], columns=_ROW_COLUMNS)
    planes = planes.drop(columns=["y", "x", "height", "width"])
    planes = planes.merge(became, on=["well", "field", "channel", "time"], how="left")
    converted = np.where(
        planes["planes"] > 1, PROJECTED, np.where(planes["channel"].isin(list(plan.profiles)), CORRECTED, CONVERTED)
    )
    outcome = np.where(planes["status"] == "ok", converted, planes["status"].astype(object))
    outcome = np.where(planes["path"] == NO_FILE, NOT_RECORDED, outcome)
    names = [channel.name for channel in plan.channels]
    acquisitions = set(chosen["acquisition"])
    left_out = np.select(
        [
            ~planes["acquisition"].isin(list(acquisitions)),
            ~planes["channel"].isin(names),
            ~(planes["channel"] + " " + planes["t"].astype(str)).isin(
                set(chosen["channel"] + " " + chosen["t"].astype(str))
            ),
        ],
        [OTHER_ACQUISITION, OTHER_CHANNEL, OTHER_TIME],
        OTHER_Z,
    )
    planes["outcome"] = pd.Series(np.where(is_chosen, outcome, left_out), planes.index).fillna("missing")
    planes["detail"] = np.where(is_chosen, planes["message"].fillna(""), "")
    exact = planes["outcome"].isin([CONVERTED])
    for column, value in _NO_PLACE.items():
        planes[column] = planes[column].where(exact, value)
    return planes


_ROW_COLUMNS = ["well", "field", "channel", "status", "message", "planes", *_NO_PLACE]


def _unlisted_pages(
    source: PlateSource, chosen: pd.DataFrame, pages: Mapping[str, int], absent: Collection[str]
) -> Iterator[dict]:
    """Pages of the files of the chosen planes that no plane names. pages : of files that were opened already."""
    paths = [path for path in chosen["path"].unique() if path not in (NO_FILE, *absent) and not Path(path).is_dir()]
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda path: pages.get(path) or _count_pages(path), paths))
    named = source.planes[source.planes["path"].isin(paths)].groupby("path")["page"].agg(set)
    for path, count in zip(paths, counts, strict=True):
        for page in sorted(set(range(count)) - named[path]):
            yield {"path": path, **_NO_PLANE, "page": page, "outcome": PAGE, "detail": f"one of {count} pages"}


def _count_pages(path: str) -> int:
    try:
        return image_header(path)[2]
    except InputError as error:  # its planes have a status that says so
        if is_of_the_system(error):
            raise UnavailableError(f"{path}: cannot be read now; the next tick tries again") from error
        return 0


def _other_files(source: PlateSource, folder: Path) -> Iterator[dict]:
    """The files of a folder that no plane lies in."""
    listed = set(source.planes["path"])
    for path, is_link in _walk(folder):
        parents = [str(parent) for parent in path.parents if parent.is_relative_to(folder)]
        if str(path) in listed or any(parent in listed for parent in parents):
            continue
        reason = next((source.set_aside[name] for name in (str(path), *parents) if name in source.set_aside), None)
        if reason is not None:
            outcome, detail = SET_ASIDE, reason
        elif _TEXT_FILES.fullmatch(path.name) and not is_link:
            outcome, detail = NO_PIXELS, ""
        else:
            outcome, detail = UNKNOWN, "a link to a folder" if is_link else ""
        yield {"path": str(path), **_NO_PLANE, "outcome": outcome, "detail": detail}


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All files below a folder, and links to folders; whether each is such a link."""
    for at, folders, names in os.walk(folder, onerror=unavailable):
        folders.sort()
        yield from ((Path(at, name), False) for name in sorted(names))
        yield from ((Path(at, name), True) for name in folders if Path(at, name).is_symlink())


def _relative(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if path and Path(path).is_relative_to(folder) else path


def write_ledger(ledger: pd.DataFrame, path: str | Path) -> int:
    """Write a ledger as a Parquet file; returns its CRC-32, which the plate that it belongs to notes as `ledger`."""
    content = io.BytesIO()
    ledger.to_parquet(content, index=False)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())
    return zlib.crc32(content.getvalue())


def read_ledger(plate: str | Path) -> pd.DataFrame | None:
    """The ledger beside a plate; None if it is not there, or not the one that was written with the plate."""
    path = Path(plate).with_name(LEDGER)
    if not path.is_file() or zlib.crc32(path.read_bytes()) != Plate(plate).notes.get("ledger"):
        return None
    return pd.read_parquet(path, columns=LEDGER_COLUMNS)


def check_pixels(ledger: pd.DataFrame, well: str, channels: Sequence[str], mosaic: np.ndarray, time: int = 0) -> None:
    """Compare the mosaic of a well, (c, y, x) at a time point, with the checksums of the planes it was made of.

    Raises
    ------
    InputError
        If the mosaic lacks a pixel that the ledger says is there.
    """
    of_well = ledger[(ledger["well"] == well) & (ledger["time"] == time) & (ledger["outcome"] == CONVERTED)]
    for channel, planes in of_well.groupby("channel", sort=False):
        covering: list[Rectangle] = []
        for plane in planes.sort_values("field", kind="stable").itertuples():
            place = Rectangle(plane.y0, plane.x0, plane.height, plane.width)
            pixels = mosaic[channels.index(channel), place.y0 : place.y0 + place.height, place.x0 :][:, : place.width]
            found = visible_checksum(pixels, place, covering)
            if found != {"hidden": plane.hidden, "crc32": plane.crc32}:
                raise InputError(
                    f"well {well}, field {plane.field}, channel {channel!r}: the plate does not hold the pixels of "
                    f"{plane.path}: keep the raw folder, remove the plate, and run again."
                )
            covering.append(place)


@dataclass(frozen=True)
class LeftOut:
    """Something of the raw folder that the plate does not hold: what, and whether the raw folder is needed for it.

    The raw folder is not needed for what the configuration asked to be left out, and for what never was recorded.
    """

    text: str
    needs_raw: bool


def left_out_of(plate: str | Path) -> list[LeftOut]:
    """What a converted plate, `plate.ome.zarr`, does not hold of its raw folder; first what needs that folder."""
    ledger = read_ledger(plate)
    if ledger is None:
        return [LeftOut(f"there is no record ({LEDGER}) of what became of every file in it", True)]
    return left_out(ledger, Plate(plate).notes.get("asked", ()))


def left_out(ledger: pd.DataFrame, asked: Iterable[str]) -> list[LeftOut]:
    """The same, of a ledger. asked : the settings by which a person chose what to convert"""
    of = {str(outcome): rows for outcome, rows in ledger.groupby("outcome")}
    settings = set(asked)
    found = [
        *_bad_planes(of),
        *_planes_not_chosen(of, ledger, settings),
        *_changed_pixels(of, settings),
        *_other_contents(of),
    ]
    return sorted(found, key=lambda one: not one.needs_raw)


def about_raw_folder(found: Sequence[LeftOut]) -> str:
    """Whether the raw folder may be deleted, in a sentence or two, from what was left out."""
    needed, others = ([one.text for one in found if one.needs_raw is needs] for needs in (True, False))
    beside = f" Not in the plate either: {'; '.join(others)}." if others else ""
    if needed:
        return f"Keep the raw folder: {'; '.join(needed)}.{beside}"
    without = f", but for {'; '.join(others)}" if others else ""
    return (
        f"Every pixel of every image in the raw folder is in plate.ome.zarr, compared by checksum{without}. For this "
        "workflow the raw folder may be deleted."
    )


def _bad_planes(of: Mapping[str, pd.DataFrame]) -> Iterator[LeftOut]:
    bad = {status: len(of[status]) for status in BAD if status in of}
    if bad:
        counts = ", ".join(f"{count} {status}" for status, count in bad.items())
        total = sum(len(of[outcome]) for outcome in (CONVERTED, PROJECTED, CORRECTED, *BAD) if outcome in of)
        yield LeftOut(f"{sum(bad.values()):,} of {_count(total, 'image')} could not be read ({counts})", True)
    if PLANNED in of:
        yield LeftOut(f"{_count(len(of[PLANNED]), 'planned image')} absent ({_wells(of[PLANNED])})", True)
    if NOT_RECORDED in of:
        yield LeftOut(f"{_count(len(of[NOT_RECORDED]), 'image')} never recorded ({_wells(of[NOT_RECORDED])})", False)


def _planes_not_chosen(of: Mapping[str, pd.DataFrame], ledger: pd.DataFrame, asked: set[str]) -> Iterator[LeftOut]:
    if OTHER_CHANNEL in of:
        channels = _some(dict.fromkeys(of[OTHER_CHANNEL]["channel"]))
        yield LeftOut(f"not converted: channel {channels}", "channels" not in asked)
    if OTHER_ACQUISITION in of:
        numbers = _some(sorted(set(of[OTHER_ACQUISITION]["acquisition"])))
        yield LeftOut(f"not converted: acquisition {numbers}", "acquisition" not in asked)
    if OTHER_TIME in of:
        times = set(ledger.loc[ledger["t"] >= 0, "t"])
        kept = times - set(of[OTHER_TIME]["t"])
        text = f"not converted: {len(times) - len(kept)} of {_count(len(times), 'time point')}"
        yield LeftOut(text, "t" not in asked)
    if OTHER_Z in of:
        projections = int((of[OTHER_Z]["z"] == PROJECTION).sum())
        planes = len(of[OTHER_Z]) - projections
        parts = [_count(planes, "plane") + " of stacks"] if planes else []
        parts += [_count(projections, "projection") + " by the instrument"] if projections else []
        yield LeftOut(f"not converted: {' and '.join(parts)}", "z" not in asked)


def _changed_pixels(of: Mapping[str, pd.DataFrame], asked: set[str]) -> Iterator[LeftOut]:
    if PROJECTED in of:
        yield LeftOut(
            f"{_count(len(of[PROJECTED]), 'plane')} of stacks projected into one image each", "z" not in asked
        )
    if CORRECTED in of:
        channels = _some(dict.fromkeys(of[CORRECTED]["channel"]))
        yield LeftOut(f"corrected for uneven illumination: channel {channels}", True)
    if CONVERTED in of:
        converted = of[CONVERTED]
        hidden = int(converted["hidden"].sum())
        if hidden:
            share = hidden / int((converted["height"] * converted["width"]).sum())
            yield LeftOut(f"{_percent(share)} of the raw pixels lie under neighbouring fields", True)


def _other_contents(of: Mapping[str, pd.DataFrame]) -> Iterator[LeftOut]:
    if PAGE in of:
        files = of[PAGE]["path"].nunique()
        yield LeftOut(f"{_count(len(of[PAGE]), 'page')} of {_count(files, 'file')} that the index does not list", True)
    if UNKNOWN in of:
        yield LeftOut(f"{_count(len(of[UNKNOWN]), 'unknown file')}: {_some(of[UNKNOWN]['path'])}", True)
    if SET_ASIDE in of:
        for reason, files in of[SET_ASIDE].groupby("detail", sort=False):
            # A smaller copy holds no pixel of its own.
            yield LeftOut(f"{_count(len(files), 'file')} left aside: {reason}", not str(reason).startswith(_COPIES))


_COPIES = ("thumbnail", "lower resolution")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _wells(rows: pd.DataFrame) -> str:
    wells = [well for well in dict.fromkeys(rows["well"]) if well]
    return f"well{'' if len(wells) == 1 else 's'} {_some(wells)}" if wells else "of unknown wells"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _some(names: Iterable[object], most: int = 4) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most:,} more" if len(listed) > most else "")
