"""The index of an IN Cell Analyzer: an .xdce file beside the images."""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError, raise_problems, reading
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

XDCE = ".xdce"


def find_xdce(folder: Path, files: Sequence[str]) -> Path | None:
    """The .xdce file among the files of a folder, or None. Raises InputError if there are several."""
    indexes = [name for name in files if name.lower().endswith(XDCE)]
    if len(indexes) > 1:
        raise InputError(
            f"{folder}: holds {len(indexes)} {XDCE} files ({', '.join(indexes[:3])}): give every plate its own folder"
        )
    return folder.absolute() / indexes[0] if indexes else None


def lists_images(index: Path) -> bool:
    """Whether a file may list images, without parsing it."""
    with reading(index):
        return b"<Image " in index.read_bytes()


def pixel_size_of_xdce(index: Path) -> float:
    """Micrometres per pixel, NaN if the file does not tell. Raises InputError if it cannot be read."""
    return _pixel_size(parse_xml(index, index))


def read_xdce_plate(index: Path) -> PlateSource | None:
    """The plate that an .xdce file lists; None if it lists no image.

    All images that it lists have a row, whether they are there or not. Positions are those of the centres of fields,
    relative to the centre of the well; the stage's y axis points up.

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    images: list[Element] = []
    root = parse_xml(index, index, {"Image": images.append})
    if not images:
        return None
    size, pixel_size = _attributes(root, "Size"), _pixel_size(root)
    shared = {"height": _count(size.get("height")), "width": _count(size.get("width")), "pixel_size": pixel_size}
    waves: dict[int, str] = {}
    rows, problems = [], []
    for image in images:
        try:
            rows.append(shared | _row(image, index, waves))
        except ValueError as error:
            problems.append(f"image {image.get('filename', '')!r}: {error}")
    raise_problems(f"{index}: its list of images cannot be used", problems)
    names = unique_names(dict(sorted(waves.items())))
    fill_missing_sizes(rows, index)
    for row in rows:
        row["channel"] = names[row.pop("wave")]
        row["y"] -= row["height"] * pixel_size / 2
        row["x"] -= row["width"] * pixel_size / 2
    plate, creation = _attributes(root, "Plate"), _attributes(root, "Creation")
    metadata = {
        "instrument": "IN Cell Analyzer",
        "objective": _attributes(root, "ObjectiveCalibration").get("objective_name", ""),
        "barcode": index.stem,
        "started": "T".join(part for part in (creation.get("date", ""), creation.get("time", "")) if part),
        "rows": _count(plate.get("rows")),
        "columns": _count(plate.get("columns")),
        "index": str(index),
    }
    return PlateSource(index.stem, "incell", make_planes(rows, index), metadata)


def _row(image: Element, index: Path, waves: dict[int, str]) -> dict:
    """A row of `make_planes`, with the number of its wave; enters the name of the wave into `waves`."""
    at = _attributes(image, "Identifier")
    place = _attributes(image, "OffsetFromWellCenter")
    wave = _index(at, "wave_index")
    emission = _attributes(image, "EmissionFilter")
    excitation, name = _attributes(image, "ExcitationFilter").get("name", ""), emission.get("name", "")
    waves.setdefault(wave, name if excitation in ("", name) else f"{excitation} - {name}")
    row, column = (_count(_attributes(image, tag).get("number")) for tag in ("Row", "Column"))
    return {
        "well": well_name(row, column),
        "field": _index(at, "field_index") + 1,
        "wave": wave,
        "wavelength": _positive(emission.get("wavelength")),
        "z": _index(at, "z_index"),
        "t": _index(at, "time_index"),
        "path": listed_path(index.parent, image.get("filename", ""), index),
        "y": -to_float(place.get("y")),
        "x": to_float(place.get("x")),
    }


def _pixel_size(root: Element) -> float:
    return _positive(_attributes(root, "ObjectiveCalibration").get("pixel_width"))


def _attributes(element: Element, tag: str) -> dict[str, str]:
    found = element.find(f".//{tag}")
    return {} if found is None else dict(found.attrib)


def _index(attributes: dict[str, str], key: str) -> int:
    text = attributes.get(key, "0")
    if not text.isdecimal():
        raise ValueError(f"{key} {text!r} is not a whole number")
    return int(text)


def _count(text: str | None) -> int:
    value = to_float(text)
    return int(value) if value > 0 else 0


def _positive(text: str | None) -> float:
    value = to_float(text)
    return value if value > 0 else math.nan
