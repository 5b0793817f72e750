"""Layout "cellvoyager": Yokogawa CellVoyager measurements (CV7000, CV8000, CQ1 with `MeasurementData.mlf`)."""

import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError
from equinuclei.sources.plates.planes import (
    PlateSource,
    fill_missing_sizes,
    listed_path,
    make_planes,
    parse_xml,
    to_float,
    unique_names,
)
from equinuclei.wells import well_name

LOOKED_FOR = "MeasurementData.mlf"

_FILTER = re.compile(r"\s*[A-Za-z]*(\d{3})\s*/\s*\d+")


def find_cellvoyager(path: Path) -> Path | None:
    """The list of images of a measurement at `path`, or None."""
    if path.is_file():
        return path if path.name == LOOKED_FOR else None
    index = path / LOOKED_FOR
    return index if index.is_file() else None


def read_cellvoyager(path: Path) -> PlateSource:
    """Read a CellVoyager measurement (see `equinuclei.sources.plates.find_plate_source`).

    The plate consists of the images that `MeasurementData.mlf` lists, without the correction images for camera (DC_)
    and shading (SC_) beside them. The stage's y axis points up and its positions are those of the centres of fields;
    both are converted. Channels are named after their fluorophore, or else after their emission filter.

    Raises
    ------
    InputError
        If there is no list of images, or it is damaged or incomplete.
    """
    index = find_cellvoyager(path)
    if index is None:
        raise InputError(f"{path}: no CellVoyager measurement: looked for {LOOKED_FOR}")
    folder = index.parent
    records: list[Element] = []
    root = parse_xml(index, index, each={"MeasurementRecord": records.append})
    if root.tag != "MeasurementData":
        raise InputError(f"{index}: begins with {root.tag!r}, not with 'MeasurementData': it is not a list of images")
    failed = sum(record.get("Type") != "IMG" for record in records)
    records = [record for record in records if record.get("Type") == "IMG"]
    if not records:
        raise InputError(f"{index}: lists no image")
    detail = _optional_xml(folder / "MeasurementDetail.mrf")
    pixels = {element.get("Ch"): element for element in detail.iter("MeasurementChannel")}
    settings_name = detail.get("MeasurementSettingFileName") or ""
    settings = Path(listed_path(folder, settings_name, folder / "MeasurementDetail.mrf")) if settings_name else None
    optics = {element.get("Ch"): element for element in _optional_xml(settings).iter("Channel")}
    # Two actions can image the same dye, one as a stack and one as a projection.
    keys = list(dict.fromkeys((record.get("Ch", ""), record.get("ActionIndex", "")) for record in records))
    keys.sort(key=lambda key: tuple((len(part), part) for part in key))
    names = unique_names({key: _channel_name(optics.get(key[0]), key[0]) for key in keys})
    rows = [_row(record, names, optics, pixels, folder, index) for record in records]
    fill_missing_sizes(rows, index)
    # A field that was imaged again is listed again; its last record counts.
    latest = {(r["well"], r["field"], r["channel"], r["z"], r["t"]): r for r in rows}
    first = optics.get(keys[0][0], Element("Channel"))
    plate = detail.find("MeasurementSamplePlate")
    title = detail.get("Title") or ("" if plate is None else plate.get("Name", "")) or folder.name
    metadata = {
        "instrument": detail.get("TargetSystem", ""),
        "objective": first.get("Objective", ""),
        "barcode": title,
        "measurement": detail.get("BeginTime", ""),
        "started": detail.get("BeginTime", ""),
        "plate_type": "" if plate is None else plate.get("WellPlateProductFileName", ""),
        "rows": int(detail.get("RowCount") or 0),
        "columns": int(detail.get("ColumnCount") or 0),
        "index": str(index),
        "failed_records": failed,
    }
    return PlateSource(title, "cellvoyager", make_planes(latest.values(), index), metadata)


def _optional_xml(path: Path | None) -> Element:
    return parse_xml(path, path) if path is not None and path.is_file() else Element("absent")


def _channel_name(optics: Element | None, number: str) -> str:
    if optics is None:
        return f"C{int(number):02d}" if number.isdigit() else f"C{number}"
    return optics.get("Fluorophore") or optics.get("Acquisition") or optics.get("Target") or f"C{number}"


def _row(record: Element, names: dict, optics: dict, pixels: dict, folder: Path, index: Path) -> dict:
    try:
        well = well_name(int(record.attrib["Row"]), int(record.attrib["Column"]))
        number, plane = int(record.attrib["FieldIndex"]), int(record.get("ZIndex", "1"))
        time = int(record.get("TimePoint", "1"))
    except (KeyError, ValueError) as error:
        raise InputError(f"{index}: the record of {record.text!r} cannot be used: {error}") from error
    channel = record.get("Ch", "")
    camera = pixels.get(channel, Element("absent"))
    height, width = int(camera.get("VerticalPixels") or 0), int(camera.get("HorizontalPixels") or 0)
    pixel_size = to_float(camera.get("HorizontalPixelDimension"))
    pixel_size = pixel_size if pixel_size > 0 else math.nan
    filtered = _FILTER.match(optics[channel].get("Acquisition", "")) if channel in optics else None
    return {
        "well": well,
        "field": number,
        "channel": names[channel, record.get("ActionIndex", "")],
        "wavelength": float(filtered[1]) if filtered else math.nan,
        "z": plane - 1,
        "t": time,
        "path": listed_path(folder, record.text or "", index),
        "y": -to_float(record.get("Y")) - height * pixel_size / 2,
        "x": to_float(record.get("X")) - width * pixel_size / 2,
        "height": height,
        "width": width,
        "pixel_size": pixel_size,
        "acquired": record.get("Time", ""),
    }
