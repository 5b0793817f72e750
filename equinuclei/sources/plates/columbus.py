"""Layout "columbus": exports from PerkinElmer / Revvity Columbus, with `ImageIndex.ColumbusIDX.xml`."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError, raise_problems
from equinuclei.sources.plates.evaluation_index import is_index, plate_facts, read_index, read_planes
from equinuclei.sources.plates.listing import find_named, names_in
from equinuclei.sources.plates.planes import (
    PlateSource,
    child_text,
    fill_missing_sizes,
    listed_path,
    make_planes,
    parse_xml,
)
from equinuclei.wells import well_name

MEASUREMENT, IMAGES = "MeasurementIndex.ColumbusIDX.xml", "ImageIndex.ColumbusIDX.xml"
LOOKED_FOR = f"{IMAGES} or {MEASUREMENT}"

_NAME = re.compile(
    r"(?P<row>\d{3})(?P<column>\d{3})-(?P<field>\d+)-(?P<one>\d{3})(?P<two>\d{3})(?P<channel>\d{3})\.tiff?",
    re.IGNORECASE,
)


def find_columbus(path: Path) -> Path | None:
    """The index of a Columbus export at `path`, of its measurement or else of its images; None if there is none."""
    if path.is_file():
        return path if path.name.casefold() in (MEASUREMENT.casefold(), IMAGES.casefold()) else None
    return find_named(path, (MEASUREMENT, IMAGES))


def read_columbus(path: Path) -> PlateSource:
    """Read a Columbus export (see `equinuclei.sources.plates.find_plate_source`).

    The measurement's index names the indexes of images, which are like those of Harmony (see `read_harmony`); several
    of them, in folders of their own, are time points. Without a record of an image in them, planes are read from the
    names of files, `<row><column>-<field>-<number><number><channel>.tif` with three digits each, if both numbers
    are the same in all names.

    Raises
    ------
    InputError
        If there is no index, there are several measurements, or an index is damaged; see also `read_harmony`.
    """
    found = find_columbus(path)
    if found is None:
        raise InputError(f"{path}: no Columbus export: looked for {LOOKED_FOR}")
    folder = found.parent
    at = find_named(folder, [MEASUREMENT])
    measurement = Element("absent") if at is None else parse_xml(at, at)
    for what, tag in (("plates", "PlateName"), ("measurements", "Measurement")):
        several = list(measurement.iter(tag))
        if len(several) > 1:
            names = ", ".join(one.get(f"{tag}ID") or (one.text or "").strip() or "?" for one in several)
            raise InputError(f"{at}: lists {len(several)} {what} ({names}): export one at a time")
    paths = _image_indexes(folder, measurement)
    indexes = [read_index(one) for one in paths if _has_images(one)]
    if not indexes:
        return _from_names(folder, found, measurement)
    planes, metadata = read_planes(indexes, (IMAGES, MEASUREMENT))
    facts = {**plate_facts(indexes[0]), **metadata, "index": str(found)}
    facts["barcode"] = facts["barcode"] or _first(measurement, "PlateName")
    name = facts["barcode"] or child_text(indexes[0].plate, "Name") or folder.name
    return PlateSource(name, "columbus", planes, facts)


def _image_indexes(folder: Path, measurement: Element) -> list[Path]:
    """Indexes of images: those that the measurement refers to, or that beside it, or those in the folders below."""
    paths = []
    for one in measurement.iter("Reference"):
        name = (one.text or "").strip()
        if not name.casefold().endswith("columbusidx.xml"):
            continue  # results of an analysis
        said = Path(listed_path(folder, name, folder / MEASUREMENT))
        index = find_named(said.parent, [said.name]) or find_named(folder, [said.name])
        if index is None:
            raise InputError(
                f"{folder}: lacks {name}, to which {MEASUREMENT} refers: was the export copied completely?"
            )
        paths.append(index)
    beside = find_named(folder, [IMAGES])
    if not paths and beside is not None:
        paths = [beside]
    if not paths:
        below = (find_named(child, [IMAGES]) for child in names_in(folder)[1])
        paths = [path for path in below if path is not None]
    return sorted(dict.fromkeys(paths), key=lambda path: (_natural(path.parent.name), path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "T2" before "T10"."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def _has_images(index: Path) -> bool:
    """Whether an index is one of images; a damaged one raises InputError, as it is no reason to guess from names."""
    if is_index(index):
        return True
    parse_xml(index, index)
    return False


def _first(element: Element, tag: str) -> str:
    return next(((one.text or "").strip() for one in element.iter(tag)), "")


def _from_names(folder: Path, index: Path, measurement: Element) -> PlateSource:
    """The plate from the names of its files; see `read_columbus`."""
    matches = [match for name in names_in(folder)[0] if (match := _NAME.fullmatch(name))]
    if not matches:
        raise InputError(
            f"{index}: no index holds a record of an image, and no file is named like 002003-1-001001001.tif: "
            "export the measurement from Columbus again, or list its planes in a table"
        )
    _check_numbers(index, matches)
    problems, rows = [], []
    for match in matches:
        try:
            well = well_name(int(match["row"]), int(match["column"]))
        except ValueError as error:
            problems.append(f"{match.string}: {error}")
            continue
        row = {"well": well, "field": int(match["field"]), "channel": f"channel {int(match['channel'])}"}
        rows.append({**row, "path": str(folder / match.string), "height": 0, "width": 0, "pixel_size": math.nan})
    raise_problems(str(folder), problems)
    fill_missing_sizes(rows, index)
    name = _first(measurement, "PlateName") or folder.name
    metadata = {"barcode": name, "measurement": _first(measurement, "Measurement"), "index": str(index)}
    return PlateSource(name, "columbus", make_planes(rows, index), metadata)


def _check_numbers(index: Path, matches: Iterable[re.Match[str]]) -> None:
    """Raise InputError if the names have several planes or time points: which number is which, nobody documents."""
    for number in ("one", "two"):
        values = sorted({match[number] for match in matches})
        if len(values) > 1:
            raise InputError(
                f"{index}: no index holds a record of an image, and the names of files, which have {', '.join(values)} "
                "in one place, do not tell planes of a stack from time points: export the measurement from Columbus "
                "again, with its index, or list its planes in a table"
            )
