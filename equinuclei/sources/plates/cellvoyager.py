"""Layout "cellvoyager": Yokogawa CellVoyager measurements with `MeasurementData.mlf` (CV7000, CV8000, CQ1, CQ3K)."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError
from equinuclei.sources.plates.listing import find_named, names_in
from equinuclei.sources.plates.planes import (
    PROJECTION,
    PlateSource,
    fill_missing_sizes,
    listed_path,
    make_planes,
    parse_xml,
    to_float,
    unique_names,
)
from equinuclei.sources.plates.yokogawa_records import (
    facts_of_record,
    failed_rows,
    field_numbers,
    newest_only,
    time_points,
)
from equinuclei.wells import well_name

LOOKED_FOR = "MeasurementData.mlf"

_FILTER = re.compile(r"\s*[A-Za-z]*(\d{3})\s*/\s*\d+")
_CORRECTIONS = {"dc_": "correction image of the camera", "sc_": "correction image of the shading"}


@dataclass(frozen=True)
class _Measurement:
    """The folder of a measurement, its index, and facts by channel number from its other files."""

    folder: Path
    index: Path
    detail: Element
    pixels: Mapping[str, Element]
    optics: Mapping[str, Element]


def find_cellvoyager(path: Path) -> Path | None:
    """The list of images of a measurement at `path`, or None."""
    if path.is_file():
        return path if path.name.casefold() == LOOKED_FOR.casefold() else None
    return find_named(path, [LOOKED_FOR])


def read_cellvoyager(path: Path) -> PlateSource:
    """Read a CellVoyager measurement (see `equinuclei.sources.plates.find_plate_source`).

    The plate consists of the images that `MeasurementData.mlf` lists, without the correction images for camera (DC_)
    and shading (SC_) beside them. The stage's y axis points up and its positions are those of the centres of fields;
    both are converted. Channels are named after their fluorophore, or else after their emission filter. Images with a
    `ZImageProcessing` are projections.

    Timelines that image the same fields are consecutive time points, in the order of (TimelineIndex, TimePoint), and
    `times` in the metadata names them. Tiles that share a FieldIndex are fields of their own, named in `fields`. Of a
    field that was imaged again, the newest record counts. A failed record (ERR) is a plane without file for every
    channel and z that its field has in other wells; `failed_records` counts them all, and
    `failed_records_without_field` those that do not tell their field, by number or by position.

    Raises
    ------
    InputError
        If there is no list of images, it is damaged or incomplete, or it lists images that cannot be kept apart (the
        message names what distinguishes them).
    """
    index = find_cellvoyager(path)
    if index is None:
        raise InputError(f"{path}: no CellVoyager measurement: looked for {LOOKED_FOR}")
    listed: list[Element] = []
    root = parse_xml(index, index, each={"MeasurementRecord": listed.append})
    if root.tag != "MeasurementData":
        raise InputError(f"{index}: begins with {root.tag!r}, not with 'MeasurementData': it is not a list of images")
    failed = [record for record in listed if record.get("Type") != "IMG"]
    records = [record for record in listed if record.get("Type") == "IMG"]
    if not records:
        raise InputError(f"{index}: lists no image")
    measurement = _measurement(index)
    # Two actions can image the same dye, one as a stack and one as a projection.
    keys = list(dict.fromkeys((record.get("Ch", ""), record.get("ActionIndex", "")) for record in records))
    keys.sort(key=lambda key: tuple((len(part), part) for part in key))
    optics = measurement.optics
    names = unique_names({key: _channel_name(optics.get(key[0]), key[0]) for key in keys})
    rows = _rows(records, names, measurement)
    moments, times = time_points(records, index)
    fields, tiles = field_numbers(records, index)
    for row, moment, number in zip(rows, moments, fields, strict=True):
        row.update(t=moment, field=number)
    fill_missing_sizes(rows, index)
    kept, aside = newest_only(records, rows)
    rows = [rows[number] for number in kept]
    records = [records[number] for number in kept]
    lost, untold = failed_rows(failed, records, rows)
    planes = make_planes([*rows, *lost], index, lambda row: facts_of_record(records[row]) if row < len(rows) else {})
    title, facts = _facts(measurement, keys[0][0])
    metadata = {
        **facts,
        "failed_records": len(failed),
        "failed_records_without_field": untold,
        **({"times": times} if times else {}),
        **({"fields": tiles} if tiles else {}),
    }
    return PlateSource(title, "cellvoyager", planes, metadata, set_aside={**_set_aside(measurement.folder), **aside})


def _measurement(index: Path) -> _Measurement:
    folder = index.parent
    detail_path = find_named(folder, ["MeasurementDetail.mrf"])
    detail = _optional_xml(detail_path)
    pixels = {element.get("Ch", ""): element for element in detail.iter("MeasurementChannel")}
    name = detail.get("MeasurementSettingFileName") or ""
    settings = Path(listed_path(folder, name, detail_path or index)) if name else None
    optics = {element.get("Ch", ""): element for element in _optional_xml(settings).iter("Channel")}
    return _Measurement(folder, index, detail, pixels, optics)


def _optional_xml(path: Path | None) -> Element:
    return parse_xml(path, path) if path is not None and path.is_file() else Element("absent")


def _channel_name(optics: Element | None, number: str) -> str:
    if optics is None:
        return f"C{int(number):02d}" if number.isdecimal() and len(number) < 5 else f"C{number}"
    return optics.get("Fluorophore") or optics.get("Acquisition") or optics.get("Target") or f"C{number}"


def _facts(measurement: _Measurement, channel: str) -> tuple[str, dict]:
    """The plate's name, and metadata on it; the objective is that of `channel`."""
    detail = measurement.detail
    plate = detail.find("MeasurementSamplePlate")
    title = detail.get("Title") or ("" if plate is None else plate.get("Name", "")) or measurement.folder.name
    return title, {
        "instrument": detail.get("TargetSystem", ""),
        "objective": measurement.optics.get(channel, Element("Channel")).get("Objective", ""),
        "barcode": title,
        "measurement": detail.get("BeginTime", ""),
        "started": detail.get("BeginTime", ""),
        "plate_type": "" if plate is None else plate.get("WellPlateProductFileName", ""),
        "rows": _count(detail.get("RowCount")),
        "columns": _count(detail.get("ColumnCount")),
        "index": str(measurement.index),
    }


def _rows(records: Sequence[Element], names: Mapping[tuple[str, str], str], measurement: _Measurement) -> list[dict]:
    """Rows for `make_planes`, one per record, without t and field. names : of the channels, by Ch and ActionIndex."""
    paths = [listed_path(measurement.folder, record.text or "", measurement.index) for record in records]
    # Files that were compressed after the acquisition are PNG, while the index goes on naming TIFF.
    first = Path(paths[0])
    if not first.exists() and first.with_suffix(".png").exists():
        paths = [str(Path(path).with_suffix(".png")) for path in paths]
    rows = [_row(record, path, names, measurement) for record, path in zip(records, paths, strict=True)]
    # Planes are counted from 1, or in some measurements from 0.
    lowest = min((row["z"] for row in rows if row["z"] is not None), default=0)
    for row in rows:
        row["z"] = PROJECTION if row["z"] is None else row["z"] - lowest if lowest < 0 else row["z"]
    return rows


def _count(text: str | None) -> int:
    value = to_float(text)
    return int(value) if value > 0 else 0


def _row(record: Element, path: str, names: Mapping[tuple[str, str], str], measurement: _Measurement) -> dict:
    try:
        well = well_name(int(record.attrib["Row"]), int(record.attrib["Column"]))
        plane = int(record.get("ZIndex", "1"))
    except (KeyError, ValueError) as error:
        raise InputError(f"{measurement.index}: the record of {record.text!r} cannot be used: {error}") from error
    channel = record.get("Ch", "")
    camera = measurement.pixels.get(channel, Element("absent"))
    height, width = _count(camera.get("VerticalPixels")), _count(camera.get("HorizontalPixels"))
    pixel_size = to_float(camera.get("HorizontalPixelDimension"))
    pixel_size = pixel_size if pixel_size > 0 else math.nan
    optics = measurement.optics.get(channel, Element("absent"))
    filtered = _FILTER.match(optics.get("Acquisition", ""))
    projected = record.get("ZImageProcessing", "").casefold() not in ("", "none")
    return {
        "well": well,
        "channel": names[channel, record.get("ActionIndex", "")],
        "wavelength": float(filtered[1]) if filtered else math.nan,
        "z": None if projected else plane - 1,
        "path": path,
        "y": -to_float(record.get("Y")) - height * pixel_size / 2,
        "x": to_float(record.get("X")) - width * pixel_size / 2,
        "height": height,
        "width": width,
        "pixel_size": pixel_size,
        "acquired": record.get("Time", ""),
    }


def _set_aside(folder: Path) -> dict[str, str]:
    aside = {}
    for name in names_in(folder)[0]:
        lower = name.casefold()
        if lower.endswith((".tif", ".tiff", ".png")) and lower[:3] in _CORRECTIONS:
            aside[str(folder / name)] = _CORRECTIONS[lower[:3]]
    return aside
