"""The table of planes that every reader of plates returns, and helpers that the readers share."""

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar
from xml.etree.ElementTree import Element
from xml.parsers import expat

import pandas as pd

from equinuclei.errors import InputError, UnavailableError, raise_problems, reading
from equinuclei.sources.images import image_header
from equinuclei.wells import parse_well

PLANE_COLUMNS = [
    "well",
    "field",
    "channel",
    "wavelength",
    "z",
    "t",
    "path",
    "page",
    "y",
    "x",
    "height",
    "width",
    "pixel_size",
    "acquired",
    "acquisition",
]
NO_FILE = ""  # path of a plane that the index lists without a file: the instrument recorded no image
PROJECTION = -1  # z of a projection by the instrument

_DTYPES = {"field": int, "wavelength": float, "z": int, "t": int, "page": int, "y": float, "x": float}
_DTYPES |= {"height": int, "width": int, "pixel_size": float, "acquisition": int}

_LARGEST = 2**31 - 1
"""No number of a plane is larger; that of a damaged index may be."""

_LONGEST_NAME, _LONGEST_PATH = 255, 2000
"""Bytes of a name that file systems keep, and letters of a path that leave room for the folder."""

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_DEEPEST = 100
"""Elements of XML within each other."""

PLANNED_COLUMNS = ["well", "field", "channel", "z", "t"]


def no_planned_planes() -> pd.DataFrame:
    """An empty table of planned planes (see `PlateSource`)."""
    return pd.DataFrame({name: pd.Series(dtype=_DTYPES.get(name, str)) for name in PLANNED_COLUMNS})


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class PlateSource:
    """A plate as it lies on disk.

    Attributes
    ----------
    name
        Name of the plate: its barcode if the instrument recorded one, otherwise the name of the file or folder.
    layout
        One of `equinuclei.sources.plates.LAYOUTS`, or "pattern" where the configuration says how files are named.
    planes
        One row per plane, sorted by well (row, then column), field, channel, t and z; (well, field, channel, z, t) is
        unique. Columns:

        - well: "B02", row letters (to AF) and two-digit column;
        - field: number within the well, as given by the vendor;
        - channel: name; wavelength: emission in nanometres, NaN if unknown;
        - z: from 0, or `PROJECTION` for a projection by the instrument; t: from 0;
        - path: absolute path of the file, which need not be there; `NO_FILE` if the index says that the instrument
          recorded no image; page: page in it, counted from 0;
        - y, x: stage position of the field's upper left corner in micrometres, y pointing down, NaN if unknown. Each
          well has one origin;
        - height, width: pixels; pixel_size: micrometres, NaN if unknown;
        - acquired: ISO time, or "";
        - acquisition: number of the acquisition (cycle, round) that the plane belongs to, 0 where there is one. Planes
          of several acquisitions have channels with different names.
    planned
        Planes that a plan of the acquisition names, and of which there is neither a record nor a file: well, field,
        channel, z, t; a row each. None of them is in `planes`.
    set_aside
        Reasons by absolute path, of files that the reader knows and leaves out on purpose: "thumbnail", "correction
        image of the camera", ... Files that are in neither are unknown to the reader.
    metadata
        JSON values on the acquisition: instrument, objective, barcode, measurement, rows, columns, and others that
        depend on the layout.
    """

    name: str
    layout: str
    planes: pd.DataFrame
    metadata: dict = field(default_factory=dict)
    planned: pd.DataFrame = field(default_factory=no_planned_planes)
    set_aside: Mapping[str, str] = field(default_factory=dict)


def make_planes(
    rows: Iterable[Mapping], where: str | Path, record: Callable[[int], Mapping[str, str]] | None = None
) -> pd.DataFrame:
    """The rows of a reader as a sorted, checked table with the columns `PLANE_COLUMNS` (see `PlateSource`).

    Columns that the rows lack become NaN, "" or 0. Time points are counted from the first one.

    record : what the index says of a row, by the row's number; messages name what distinguishes rows that collide.
        Given, no two rows may name the same page of a file either.

    Raises
    ------
    InputError
        If there are no rows, two have the same well, field, channel, z and t, or a number is larger than any plane's.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise InputError(f"{where}: lists no image of a plate")
    defaults: dict[str, float | str] = {"wavelength": math.nan, "y": math.nan, "x": math.nan, "pixel_size": math.nan}
    defaults |= {"z": 0, "t": 0, "page": 0, "acquired": "", "acquisition": 0}
    for column, value in defaults.items():
        if column not in table:
            table[column] = value
    table = _typed(table[PLANE_COLUMNS], where)
    table["t"] -= table["t"].min()
    keys = ["well", "field", "channel", "z", "t"]
    _check_one_image_each(table, keys, where, record)
    if record is not None:
        _check_one_plane_each(table[table["path"] != NO_FILE], where)
    order = table["well"].map(lambda well: parse_well(well))
    table = table.assign(_order=order).sort_values(["_order", "field", "channel", "t", "z"], kind="stable")
    return table.drop(columns="_order").reset_index(drop=True)


def _typed(table: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """The table with its columns' types. Raises InputError for a number that no plane has."""
    problems = []
    for name in (name for name, kind in _DTYPES.items() if kind is int):
        fits = table[name].between(-_LARGEST, _LARGEST)
        if not fits.all():
            first = table[~fits].iloc[0]
            problems.append(f"well {first['well']}: {name} {str(first[name])[:20]} in {(~fits).sum()} rows")
    raise_problems(f"{where}: numbers that no plane has: is it damaged?", problems)
    return table.astype(_DTYPES)


def _check_one_image_each(
    table: pd.DataFrame, keys: list[str], where: str | Path, record: Callable[[int], Mapping[str, str]] | None
) -> None:
    """Raise InputError if rows share their keys; `record` as in `make_planes`."""
    problems: list[str] = []
    different: set[str] = set()
    for (well, number, channel, z, t), rows in table[table.duplicated(keys, keep=False)].groupby(keys):
        values = differences([record(int(row)) for row in rows.index]) if record is not None else {}
        different.update(values)
        told = "".join(f"; {name} {', '.join(several)}" for name, several in values.items())
        problems.append(
            f"well {well}, field {number}, channel {channel!r}, z {z}, t {t} stands for {len(rows)} images: "
            + ", ".join(sorted(map(repr, rows["path"]))[:2])
            + told
        )
    names = ", ".join(sorted(different))
    raise_problems(
        f"{where}: images that differ in {names} alone, which cannot be kept apart: export one {names} at a time"
        if names
        else f"{where}: several plates in one folder?",
        problems,
    )


def _check_one_plane_each(table: pd.DataFrame, where: str | Path) -> None:
    """Raise InputError if rows name the same page of the same file: its pixels would count twice."""
    repeated = table[table.duplicated(["path", "page"], keep=False)]
    problems = [
        f"{path!r} stands for {len(rows)} planes, such as well {rows['well'].iloc[0]}, field {rows['field'].iloc[0]}, "
        f"channel {rows['channel'].iloc[0]!r}, and does not say which of its pages is which"
        for (path, _), rows in repeated.groupby(["path", "page"])
    ]
    raise_problems(f"{where}: lists one image for several planes; export one file per plane", problems)


def differences(records: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """The different values of what records say differently, by name; "-" for a record that says nothing."""
    names = dict.fromkeys(name for one in records for name in one)
    values = {name: list(dict.fromkeys(one.get(name, "-") for one in records)) for name in names}
    return {name: several for name, several in values.items() if len(several) > 1}


def unique_names(names: Mapping[Key, str]) -> dict[Key, str]:
    """Channel names by key, made unique ("DAPI", "DAPI (2)"); an empty name is replaced by one made of the key."""
    given: dict[Key, str] = {}
    taken: set[str] = set()
    following: dict[str, int] = {}  # the number that a name gets next: there may be thousands of one name
    for key, name in names.items():
        name = " ".join(str(name).split()) or f"channel {key}"
        candidate, number = name, following.get(name, 2)
        while candidate in taken:
            candidate, number = f"{name} ({number})", number + 1
        taken.add(candidate)
        given[key], following[name] = candidate, number
    return given


def listed_path(folder: Path, name: str, index: Path) -> str:
    """Absolute path of a file that an index lists relative to `folder`. The file need not exist.

    Raises
    ------
    InputError
        If the name is empty or absolute, leads out of the folder, or is none that a file can have.
    """
    plain = PurePosixPath(name.strip().replace("\\", "/"))
    if problem := unusable_name(name.strip()):
        raise InputError(f"{index}: lists the file {name[:80]!r}, whose name {problem}: the index is damaged")
    # A colon is valid in a POSIX name, but a drive letter does not belong to the export.
    if not plain.parts or plain.is_absolute() or ".." in plain.parts or re.match(r"[A-Za-z]:/", str(plain)):
        raise InputError(f"{index}: lists the file {name!r}, which is not in the export's folder: the index is damaged")
    return str(folder.joinpath(*plain.parts))


def unusable_name(name: str) -> str | None:
    """Why no file of an export can have a name or path, or None."""
    if _NO_TEXT.search(name):
        return "holds characters that are no text"
    if any(len(part.encode()) > _LONGEST_NAME for part in re.split(r"[/\\]", name)) or len(name) > _LONGEST_PATH:
        return "is too long"
    return None


def header_if_there(path: str | Path) -> tuple[int, int, int] | None:
    """Height, width and number of pages as `image_header` says, or None if the file is damaged or not there.

    Raises UnavailableError if the file is there and cannot be read now.
    """
    try:
        return image_header(path)
    except InputError:
        return None
    except UnavailableError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def fill_missing_sizes(rows: Sequence[dict], index: Path) -> None:
    """Set the height and width of rows where they are 0, in place, to those of the first readable image.

    Raises
    ------
    InputError
        If a size is missing and no image can be read.
    """
    missing = [row for row in rows if row["height"] == 0]
    size = _size_of_first(row["path"] for row in rows) if missing else None
    for row in missing:
        if size is None:
            raise InputError(f"{index}: does not give the size of its images, and none of them can be read")
        row["height"], row["width"] = size


def _size_of_first(paths: Iterable[str]) -> tuple[int, int] | None:
    """Height and width of the first file whose header can be read, or None."""
    return next((header[:2] for header in map(header_if_there, paths) if header is not None), None)


def parse_xml(
    source: Path | bytes, where: str | Path, each: Mapping[str, Callable[[Element], None]] | None = None
) -> Element:
    """Parse XML from an instrument. Tags and attributes are returned without their namespaces.

    Parameters
    ----------
    source
        A file, or its bytes. A byte-order mark is allowed.
    where
        What error messages begin with.
    each
        Functions by tag name. Each element with that name is passed to its function and then dropped, so that an index
        of 100,000 images needs no memory for its tree.

    Returns
    -------
    xml.etree.ElementTree.Element
        The root, without the dropped elements.

    Raises
    ------
    InputError
        If the XML is malformed, declares a document type, whose entities could expand to gigabytes or include files, or
        is nested deeper than any index.
    UnavailableError
        If the file cannot be read now.
    """
    tree = _Tree(where, each or {})
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = tree.refuse
    parser.StartElementHandler, parser.EndElementHandler = tree.start, tree.end
    parser.CharacterDataHandler = tree.text
    with reading(where):
        if isinstance(source, bytes):
            parser.Parse(source, True)
        else:
            with source.open("rb") as file:
                parser.ParseFile(file)
        return tree.stack[0][0]


class _Tree:
    """The elements that `parse_xml` builds: those that are open, the document first, and pieces of their texts."""

    def __init__(self, where: str | Path, each: Mapping[str, Callable[[Element], None]]) -> None:
        self.where, self.each = where, each
        self.stack: list[Element] = [Element("document")]
        self.texts: list[list[str]] = [[]]

    def refuse(self, *_: object) -> None:
        raise InputError(f"{self.where}: declares a document type, which no instrument does: it is not read")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.stack) > _DEEPEST:
            raise InputError(f"{self.where}: holds elements more than {_DEEPEST} deep, as no index does: it is damaged")
        element = Element(_local(tag), {_local(name): value for name, value in attributes.items()})
        if element.tag not in self.each:
            self.stack[-1].append(element)
        self.stack.append(element)
        self.texts.append([])

    def text(self, data: str) -> None:
        self.texts[-1].append(data)

    def end(self, _: str) -> None:
        element = self.stack.pop()
        element.text = "".join(self.texts.pop()) or None
        if element.tag in self.each:
            self.each[element.tag](element)


def child_text(element: Element, tag: str, default: str = "") -> str:
    """Text of the first child with a tag, stripped."""
    child = element.find(tag)
    return default if child is None or child.text is None else child.text.strip()


def to_float(text: str | None) -> float:
    """A finite number, or NaN if the text is not one."""
    try:
        value = math.nan if text is None else float(text)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
