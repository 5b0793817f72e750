"""The index of an IN Cell Analyzer: an .xdce file beside the images."""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError, raise_problems
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


def read_xdce_plate(folder: Path) -> PlateSource | None:
    """The plate that the .xdce file of a folder lists; None if there is no such file, or it lists no image.

    All images that it lists have a row, whether they are there or not. Positions are relative to the centre of the well;
    the stage's y axis points up, and they are those of the centres of fields.

    Raises
    ------
    InputError
        If the file cannot be used, or there are several of them.
    """
    indexes = sorted(child for child in folder.iterdir() if child.suffix.lower() == ".xdce" and child.is_file())
    if len(indexes) > 1:
        listed = ", ".join(index.name for index in indexes[:3])
        raise InputError(f"{folder}: holds {len(indexes)} .xdce files ({listed}): give every plate its own folder")
    if not indexes:
        return None
    index = indexes[0]
    images: list[Element] = []
    root = parse_xml(index, index, {"Image": images.append})
    if not images:
        return None
    facts = _facts(root)
    waves: dict[int, tuple[str, float]] = {}
    rows, problems = [], []
    for image in images:
        try:
            rows.append(_row(image, index, facts, waves))
        except ValueError as error:
            problems.append(f"image {image.get('filename', '')!r}: {error}")
    raise_problems(f"{index}: its list of images cannot be used", problems)
    names = unique_names({wave: name for wave, (name, _) in sorted(waves.items())})
    fill_missing_sizes(rows, index)
    for row in rows:
        row["channel"] = names[row.pop("wave")]
        row["y"] -= row["height"] * row["pixel_size"] / 2
        row["x"] -= row["width"] * row["pixel_size"] / 2
    metadata = {**facts, "barcode": index.stem, "index": str(index)}
    return PlateSource(index.stem, "incell", make_planes(rows, index), metadata)


def _facts(root: Element) -> dict:
    """What the file says of the whole acquisition."""
    objective, size = _attributes(root, "ObjectiveCalibration"), _attributes(root, "Size")
    plate, creation = _attributes(root, "Plate"), _attributes(root, "Creation")
    started = "T".join(part for part in (creation.get("date", ""), creation.get("time", "")) if part)
    return {
        "instrument": "IN Cell Analyzer",
        "objective": objective.get("objective_name", ""),
        "rows": _count(plate.get("rows")),
        "columns": _count(plate.get("columns")),
        "started": started,
        "pixel_size": _positive(objective.get("pixel_width")),
        "size": [_count(size.get("height")), _count(size.get("width"))],
    }


def _row(image: Element, index: Path, facts: dict, waves: dict[int, tuple[str, float]]) -> dict:
    """A row of `make_planes`, with the number of its wave; enters the wave into `waves`."""
    at = _attributes(image, "Identifier")
    place = _attributes(image, "OffsetFromWellCenter")
    wave = _index(at, "wave_index")
    emission = _attributes(image, "EmissionFilter")
    excitation = _attributes(image, "ExcitationFilter").get("name", "")
    name = emission.get("name", "")
    waves.setdefault(wave, (name if excitation in ("", name) else f"{excitation} - {name}", math.nan))
    row, column = (_count(_attributes(image, tag).get("number")) for tag in ("Row", "Column"))
    return {
        "well": well_name(row, column),
        "field": _index(at, "field_index") + 1,
        "wave": wave,
        "wavelength": _positive(emission.get("wavelength")),
        "z": _index(at, "z_index"),
        "t": _index(at, "time_index"),
        "path": listed_path(index.parent.absolute(), image.get("filename", ""), index),
        "y": -to_float(place.get("y")),
        "x": to_float(place.get("x")),
        "height": facts["size"][0],
        "width": facts["size"][1],
        "pixel_size": facts["pixel_size"],
    }


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
