"""Layouts without an index by an instrument: "table", a TSV with one row per plane, and "folder", just images."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from equinuclei.errors import InputError, raise_problems
from equinuclei.file_names import READY_PATTERNS
from equinuclei.sources.images import SUFFIXES
from equinuclei.sources.plates.folder_files import image_files
from equinuclei.sources.plates.name_tokens import pattern_like, seen_in, wells_in
from equinuclei.sources.plates.planes import PlateSource, header_if_there, make_planes, unusable_name
from equinuclei.sources.table import read_rows
from equinuclei.wells import parse_well, well_name

TABLE = "planes.tsv"
TABLE_LOOKED_FOR = f"a .tsv or .csv file, or {TABLE} in the folder, with the columns well, field, channel, path"
FOLDER = "folder"
FOLDER_LOOKED_FOR = "a folder with TIFF or PNG files that are single images"
SHOWN = 4

# What instruments leave beside their images, whatever the layout.
_INDEX = re.compile(
    r".*\.(?:xml|xdce|htd|mlf|mrf|mes|wpi|wpp|icr|jdce|flex|scan|mdb|aqs|nd|mvd2|xlif|omp)|metadata.*\.(?:txt|json|csv)"
    r"|acquisition.*\.txt|displaysettings\.json|imageindex.*|measurement.*\.csv",
    re.IGNORECASE,
)
_PLATES = ((8, 12), (16, 24), (32, 48))

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
            if problem := unusable_name(values["path"]):
                raise ValueError(f"path {values['path'][:80]!r} {problem}")
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
        if (header := header_if_there(row["path"])) is None:
            continue
        *size, pages = header
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


def check_single_images(path: Path) -> None:
    """Raise InputError if the images of a folder may be more than single images.

    That is so if a file beside them looks like the index of an instrument, or a name like one with a well or a channel.
    The message says what was seen, and what to set.
    """
    names = [image.name for image in _images(path)]
    everywhere = image_files(path)
    indexes = sorted(child.name for child in path.iterdir() if _INDEX.fullmatch(child.name) and child.is_file())
    wells, channels = seen_in(names)
    seen = [f"their names hold what looks like wells ({_some(wells)})"] if wells else []
    seen += [f"their names hold what looks like channels ({_some(channels)})"] if channels else []
    seen += [f"{_some(indexes)} beside them looks like the index of an instrument"] if indexes else []
    for layout, pattern in READY_PATTERNS.items():
        if count := sum(map(bool, map(pattern.match, everywhere))):
            seen.append(f"{count} of {len(everywhere)} are named as {layout} names them")
    if len(everywhere) > len(names):
        seen.append(f"{len(everywhere) - len(names)} images lie in its subfolders")
    if not seen:
        return
    proposal = next(filter(None, map(pattern_like, names)), "")
    quoted = (proposal or "...").replace("'", "''")
    raise InputError(
        f"{path}: {len(names)} images ({_some(names)}), and it is not certain what they are: {'; '.join(seen)}. If "
        "each is an image by itself, set `plates: {layout: folder}`. If they are a plate, say how files are named, "
        + (
            f"such as `plates: {{layout: {{pattern: '{quoted}'}}}}`, "
            if proposal
            else "`plates: {layout: {pattern: ...}}`, "
        )
        + "or list them in planes.tsv; `equinuclei plate` tells what comes of it, docs/plates.md what can be read"
    )


def read_image_folder(path: Path) -> PlateSource:
    """Read a plain folder of images (see `equinuclei.sources.plates.find_plate_source`).

    If every name holds exactly one well, an image is a field of that well; fields are numbered from 1 in the order of
    names. Otherwise every image is a well of its own: A01, A02, ... in the order of names, on the smallest plate with
    wells enough. Images may differ in size. The channel is "image". `stems` in the metadata has their names without
    suffix, by well and field.

    Raises
    ------
    InputError
        If there is no image, none can be read, one has several pages, or there are more than the largest plate has
        wells. (A single unreadable one is found later.)
    """
    images = _images(path) if path.is_dir() else []
    if not images:
        raise InputError(f"{path}: no image: looked for {FOLDER_LOOKED_FOR}")
    wells, (plate_rows, plate_columns) = _wells_of(path, images)
    rows: list[dict] = []
    size = None
    stems: dict[str, dict[str, str]] = {}
    for image, well in zip(images, wells, strict=True):
        stems.setdefault(well, {})[str(len(stems[well]) + 1)] = image.stem
        row = {"well": well, "field": len(stems[well]), "channel": "image", "path": str(image.absolute())}
        rows.append(row)
        if (header := header_if_there(image)) is None:
            continue
        row["height"], row["width"], pages = header
        size = size or (row["height"], row["width"])
        if pages > 1:
            raise InputError(f"{image}: holds {pages} pages: list its planes in a table with a column 'page'")
    if size is None:
        raise InputError(f"{path}: none of its {len(images)} images can be read")
    for row in rows:
        row.setdefault("height", size[0])
        row.setdefault("width", size[1])
    metadata = {"stems": stems, "rows": plate_rows, "columns": plate_columns}
    return PlateSource(path.absolute().name, FOLDER, make_planes(rows, path), metadata)


def _wells_of(path: Path, images: Sequence[Path]) -> tuple[list[str], tuple[int, int]]:
    """The well of every image, and the rows and columns of the plate."""
    named = [wells_in(image.name) for image in images]
    if all(len(wells) == 1 for wells in named):
        wells = [of_image[0] for of_image in named]
        reach = [max(numbers) for numbers in zip(*map(parse_well, wells), strict=True)]
        return wells, next(shape for shape in _PLATES if shape[0] >= reach[0] and shape[1] >= reach[1])
    if len(images) > math.prod(_PLATES[-1]):
        raise InputError(
            f"{path}: {len(images)} images, and a plate has {math.prod(_PLATES[-1])} wells at most: put them into "
            "several folders, each of which becomes a plate, or give them wells in planes.tsv or by a pattern "
            "(docs/plates.md)"
        )
    rows, columns = next(shape for shape in _PLATES if math.prod(shape) >= len(images))
    return [well_name(number // columns + 1, number % columns + 1) for number in range(len(images))], (rows, columns)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


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
