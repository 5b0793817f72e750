"""Layouts without an index by an instrument: "table", a TSV with one row per plane, and "folder", just images."""

import math
from pathlib import Path

from equinuclei.errors import InputError, raise_problems
from equinuclei.sources.images import SUFFIXES
from equinuclei.sources.plates.planes import PlateSource, image_header, make_planes
from equinuclei.sources.table import read_rows
from equinuclei.wells import parse_well, well_name

TABLE = "planes.tsv"
TABLE_LOOKED_FOR = f"a .tsv or .csv file, or {TABLE} in the folder, with the columns well, field, channel, path"
FOLDER_LOOKED_FOR = "a folder with TIFF or PNG files"

_OPTIONAL = ("wavelength", "z", "t", "page", "y", "x", "pixel_size", "acquired")
_WHOLE = ("z", "t", "page")


def find_table(path: Path) -> bool:
    """Whether `path` is a table of planes, or a folder with one."""
    return (path / TABLE).is_file() or (path.is_file() and path.suffix.lower() in (".tsv", ".csv", ".tab", ".txt"))


def read_plate_table(path: Path) -> PlateSource:
    """Read a table with one row per plane (see `equinuclei.sources.plates.find_plate_source`).

    The columns are well, field, channel, path and optionally wavelength (nm), z, t, page (each counted from 0), y, x
    (micrometres, of the upper left corner, y pointing down), pixel_size (micrometres) and acquired. Paths may be
    relative to the folder of the table. Height and width are those of the first readable image.

    Raises
    ------
    InputError
        With up to five problems and their total: those of `equinuclei.sources.table.read_rows`, and invalid wells,
        fields or numbers. Also for images with several pages without a column `page`, and if no image can be read.
    """
    path = path / TABLE if path.is_dir() else path
    table = read_rows(path, required=["well", "field", "channel", "path"], optional=_OPTIONAL)
    problems: list[str] = []
    rows = []
    for number, values in enumerate(table.to_dict("records"), 2):
        row: dict = {"acquired": values.get("acquired", "")}
        try:
            row["well"] = well_name(*parse_well(values["well"]))
            row["field"] = _whole("field", values["field"])
            for column in _OPTIONAL[:-1]:
                if values.get(column, "") != "":
                    convert = _whole if column in _WHOLE else _number
                    row[column] = convert(column, values[column])
            for column in ("channel", "path"):
                if not values[column].strip():
                    raise ValueError(f"{column} is empty")
        except ValueError as error:
            problems.append(f"row {number}: {error}")
            continue
        if row.get("pixel_size", 1.0) <= 0:
            problems.append(f"row {number}: pixel_size {values['pixel_size']!r} is not positive")
        row["channel"] = values["channel"].strip()
        row["path"] = str((path.parent / values["path"]).absolute())
        rows.append(row)
    raise_problems(str(path), problems)
    size = None
    for row in rows:
        try:
            height, width, pages = image_header(row["path"])
        except InputError:
            continue
        size = (height, width)
        if pages > 1 and "page" not in table:
            raise InputError(
                f"{row['path']}: holds {pages} pages: give the page of each row in a column 'page' of {path}"
            )
        break
    if not rows:
        raise InputError(f"{path}: lists no image of a plate")
    if size is None:
        raise InputError(f"{path}: none of its {len(rows)} images can be read; the first is {rows[0]['path']}")
    for row in rows:
        row.update({column: row.get(column, math.nan) for column in ("wavelength", "y", "x", "pixel_size")})
        row.update({column: row.get(column, 0) for column in _WHOLE}, height=size[0], width=size[1])
    return PlateSource(
        path.parent.name if path.name == TABLE else path.stem, "table", make_planes(rows, path), {"index": str(path)}
    )


def find_images(path: Path) -> bool:
    """Whether `path` is a folder with images."""
    return path.is_dir() and any(_images(path))


def read_image_folder(path: Path) -> PlateSource:
    """Read a plain folder of images (see `equinuclei.sources.plates.find_plate_source`).

    Each image is one field of well A01 with the single channel "image"; fields are numbered from 1 in the order of
    names. `stems` in the metadata has their names without suffix, by field number.

    Raises
    ------
    InputError
        If there is no image, none can be read, or one has several pages. (A single unreadable one is found later.)
    """
    images = _images(path) if path.is_dir() else []
    if not images:
        raise InputError(f"{path}: no image: looked for {FOLDER_LOOKED_FOR}")
    rows, size = [], None
    for number, image in enumerate(images, 1):
        row = {"well": "A01", "field": number, "channel": "image", "path": str(image.absolute())}
        rows.append(row)
        try:
            row["height"], row["width"], pages = image_header(image)
        except InputError:
            continue
        size = size or (row["height"], row["width"])
        if pages > 1:
            raise InputError(f"{image}: holds {pages} pages: list its planes in a table with a column 'page'")
    if size is None:
        raise InputError(f"{path}: none of its {len(images)} images can be read")
    for row in rows:
        row.setdefault("height", size[0])
        row.setdefault("width", size[1])
    metadata = {"stems": {str(number): image.stem for number, image in enumerate(images, 1)}}
    return PlateSource(path.absolute().name, "folder", make_planes(rows, path), metadata)


def _images(path: Path) -> list[Path]:
    return sorted(
        child
        for child in path.iterdir()
        if child.suffix.lower() in SUFFIXES and not child.name.startswith(".") and child.is_file()
    )


def _whole(column: str, text: str) -> int:
    value = _number(column, text)
    if value < 0 or value != int(value):
        raise ValueError(f"{column} {text!r} is not a whole number of 0 or more")
    return int(value)


def _number(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{column} {text!r} is not a number")
    return value
