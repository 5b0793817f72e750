"""The records of images in a CellVoyager's `MeasurementData.mlf`: what keeps them apart, which count, which failed."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError
from equinuclei.sources.plates.planes import NO_FILE, differences, to_float
from equinuclei.wells import well_name

_TILE = ("PartialTileIndex", "TileYIndex", "TileXIndex")
_SAME_PLACE = 1.0  # micrometres between the positions of a field that was imaged twice
# When and how high an image was taken distinguishes no planes; the position does, beyond what the stage repeats.
_MEASURED = ("Time", "Z", "ZTop", "ZBottom", "X", "Y")
_KEYS = ("well", "field", "channel", "z", "t")


def facts_of_record(record: Element) -> dict[str, str]:
    """What distinguishes a record from others: its attributes, without those measured while it was taken."""
    return {name: value for name, value in record.attrib.items() if name not in _MEASURED}


def time_points(records: Sequence[Element], index: Path) -> tuple[list[int], list[str]]:
    """Number of the time point of each record; and, if there are several timelines, the name of each time point.

    Timelines of the same fields follow each other, each with its own time points. Timelines of different fields (some
    wells in the one, some in the other) run side by side: both begin with the first time point.

    Raises
    ------
    InputError
        If a record's numbers cannot be used.
    """
    moments = [
        (_number(record, "TimelineIndex", index, "1"), _number(record, "TimePoint", index, "1")) for record in records
    ]
    if len({timeline for timeline, _ in moments}) == 1:
        return [time for _, time in moments], []
    fields: dict[int, set[tuple]] = {}
    times: dict[int, set[int]] = {}
    for record, (timeline, time) in zip(records, moments, strict=True):
        fields.setdefault(timeline, set()).add(tuple(record.get(name) for name in ("Row", "Column", "FieldIndex")))
        times.setdefault(timeline, set()).add(time)
    ends: dict[int, int] = {}
    numbers: dict[tuple[int, int], int] = {}
    for timeline in sorted(fields):
        begin = max((ends[other] for other in ends if fields[other] & fields[timeline]), default=0)
        ends[timeline] = begin + len(times[timeline])
        numbers.update({(timeline, time): begin + n for n, time in enumerate(sorted(times[timeline]))})
    names: dict[int, list[str]] = {}
    for (timeline, time), number in numbers.items():
        names.setdefault(number, []).append(f"timeline {timeline}, time {time}")
    return [numbers[moment] for moment in moments], [" / ".join(names[number]) for number in sorted(names)]


def field_numbers(records: Sequence[Element], index: Path) -> tuple[list[int], dict[str, str]]:
    """Number of the field of each record; and names of the fields by number, where tiles share a FieldIndex.

    Raises
    ------
    InputError
        If a record's numbers cannot be used.
    """
    numbers = [_number(record, "FieldIndex", index) for record in records]
    if not any(name in record.attrib for record in records for name in _TILE):
        return numbers, {}
    tiles = [tuple(_number(record, name, index, "0") for name in _TILE) for record in records]
    first: dict[frozenset, tuple] = {}
    shared = False
    for record, tile in zip(records, tiles, strict=True):
        facts = frozenset((name, value) for name, value in facts_of_record(record).items() if name not in _TILE)
        shared = shared or first.setdefault(facts, tile) != tile
    if not shared:
        return numbers, {}
    keys = [(number, *tile) for number, tile in zip(numbers, tiles, strict=True)]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)), 1)}
    names = {
        str(rank): f"field {key[0]}"
        + "".join(f", {name} {value}" for name, value in zip(_TILE, key[1:], strict=True) if value)
        for key, rank in ranks.items()
    }
    return [ranks[key] for key in keys], names


def newest_only(records: Sequence[Element], rows: Sequence[Mapping]) -> tuple[list[int], dict[str, str]]:
    """Numbers of the rows that count, and reasons by path of the files that newer ones replace.

    A row is replaced by another of the same plane only if their records say the same, of the same place, and the other
    was taken later. All other rows stay, for `make_planes` to tell what distinguishes them.
    """
    by_plane: dict[tuple, list[int]] = {}
    for number, row in enumerate(rows):
        by_plane.setdefault(tuple(row[key] for key in _KEYS), []).append(number)
    kept: list[int] = []
    replaced: dict[str, str] = {}
    for numbers in by_plane.values():
        newest = max(numbers, key=lambda number: _seconds(records[number]))
        for number in numbers:
            listed_twice = rows[number]["path"] == rows[newest]["path"]
            older = _seconds(records[number]) < _seconds(records[newest])
            if number == newest or not (older or listed_twice) or _differ(records[number], records[newest]):
                kept.append(number)
            else:
                replaced[rows[number]["path"]] = f"imaged again: {Path(rows[newest]['path']).name} replaces it"
    counting = {rows[number]["path"] for number in kept}
    return sorted(kept), {path: reason for path, reason in replaced.items() if path not in counting}


def failed_rows(
    failed: Sequence[Element], records: Sequence[Element], rows: Sequence[Mapping]
) -> tuple[list[dict], int]:
    """Rows without file for the planes that failed records stand for, and the number of records that do not tell.

    A failure of the autofocus names a well and a position, and no more. Its planes are those that other wells have of
    the same field (by number, or else by position) at the same time point, and that this well lacks.

    records, rows : of the images that count.
    """
    times = {_moment(record): row["t"] for record, row in zip(records, rows, strict=True)}
    by_field: dict[tuple, list[tuple[Element, Mapping]]] = {}
    by_place: dict[tuple, list[tuple[Element, Mapping]]] = {}
    for record, row in zip(records, rows, strict=True):
        by_field.setdefault((row["t"], record.get("FieldIndex")), []).append((record, row))
        by_place.setdefault((row["t"], *_place(record)), []).append((record, row))
    there = {tuple(row[key] for key in _KEYS) for row in rows}
    lost: list[dict] = []
    untold = 0
    for failure in failed:
        t = times.get(_moment(failure))
        known = by_place.get((t, *_place(failure)), [])
        if failure.get("FieldIndex") is not None:
            known = by_field.get((t, failure.get("FieldIndex")), [])
        alike = [row for record, row in known if _may_be(failure, record)]
        well = _well(failure)
        untold += not alike or well is None
        for row in alike:
            one = {**row, "well": well, "path": NO_FILE, "acquired": failure.get("Time", "")}
            key = tuple(one[name] for name in _KEYS)
            if well is not None and key not in there:
                there.add(key)
                lost.append(one)
    return lost, untold


def _may_be(failure: Element, record: Element) -> bool:
    """Whether a failed record, which says less than one of an image, can be one of the same kind of plane."""
    names = ("Ch", "ActionIndex", "ZIndex", *_TILE)
    return all(
        failure.get(name, record.get(name)) == record.get(name) for name in names if record.get(name) is not None
    )


def _well(record: Element) -> str | None:
    try:
        return well_name(int(record.get("Row", "")), int(record.get("Column", "")))
    except ValueError:
        return None


def _moment(record: Element) -> tuple[str, str]:
    return record.get("TimelineIndex", "1"), record.get("TimePoint", "1")


def _place(record: Element) -> tuple[str, str]:
    return record.get("X", ""), record.get("Y", "")


def _differ(one: Element, other: Element) -> bool:
    """Whether two records stand for different planes."""
    apart = (abs(to_float(one.get(axis)) - to_float(other.get(axis))) for axis in ("X", "Y"))
    return bool(differences([facts_of_record(one), facts_of_record(other)])) or any(d > _SAME_PLACE for d in apart)


def _seconds(record: Element) -> float:
    try:
        return datetime.fromisoformat(record.get("Time", "")).timestamp()
    except (ValueError, OverflowError):
        return -math.inf


def _number(record: Element, name: str, index: Path, default: str | None = None) -> int:
    text = record.get(name, default)
    try:
        return int(text or "")
    except ValueError:
        raise InputError(f"{index}: the record of {record.text!r} cannot be used: its {name} is {text!r}") from None
