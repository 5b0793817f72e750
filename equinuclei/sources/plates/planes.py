"""What every reader of a plate returns: the table of planes, and helpers that the readers share."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element
from xml.parsers import expat

import numpy as np
import pandas as pd
import tifffile

from equinuclei.channels import find_channel, listed
from equinuclei.errors import InputError, raise_problems
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
]
PROJECTION = -1  # z of a projection that the instrument made

_DTYPES = {"field": int, "wavelength": float, "z": int, "t": int, "page": int, "y": float, "x": float}
_DTYPES |= {"height": int, "width": int, "pixel_size": float}


@dataclass(frozen=True)
class PlateSource:
    """A plate as it lies on disk.

    Attributes
    ----------
    name
        Name of the plate: its barcode where the instrument recorded one, else the name of file or folder.
    layout
        One of `equinuclei.sources.plates.LAYOUTS`.
    planes
        A row per plane, sorted by well (row, then column), field, channel, t and z; (well, field, channel, z, t) is
        unique. Columns:

        - well: "B02", row letters (to AF) and two-digit column;
        - field: number within the well, as the vendor gives it;
        - channel: name; wavelength: emission in nanometres, NaN if unknown;
        - z: from 0, or `PROJECTION`, one that the instrument made; t: from 0;
        - path: absolute path of the file; page: page in it, counted from 0;
        - y, x: stage position of the field's upper left corner in micrometres, y pointing down, NaN if unknown. The
          origin is one per well;
        - height, width: pixels; pixel_size: micrometres, NaN if unknown;
        - acquired: ISO time, or "".
    metadata
        Plain values on the acquisition: instrument, objective, barcode, measurement, rows, columns, and what else
        the layout has.
    """

    name: str
    layout: str
    planes: pd.DataFrame
    metadata: dict = field(default_factory=dict)


def make_planes(rows: Iterable[Mapping], where: str | Path) -> pd.DataFrame:
    """Sort and check the rows of a reader: a table with the columns `PLANE_COLUMNS` (see `PlateSource`).

    Columns that a row lacks are unknown: NaN, "" or 0. Time points are counted from the first one.

    Raises
    ------
    InputError
        If there is no row, or two rows are of one well, field, channel, z and t.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise InputError(f"{where}: lists no image of a plate.")
    unknown = {"wavelength": math.nan, "y": math.nan, "x": math.nan, "pixel_size": math.nan}
    unknown |= {"z": 0, "t": 0, "page": 0, "acquired": ""}
    for column, value in unknown.items():
        if column not in table:
            table[column] = value
    table = table[PLANE_COLUMNS].astype(_DTYPES)
    table["t"] -= table["t"].min()
    keys = ["well", "field", "channel", "z", "t"]
    twice = table[table.duplicated(keys, keep=False)]
    problems = [
        f"well {well}, field {number}, channel {channel!r}, z {z}, t {t} stands for {len(paths)} images: "
        + ", ".join(sorted(map(repr, paths))[:2])
        for (well, number, channel, z, t), paths in twice.groupby(keys)["path"]
    ]
    raise_problems(f"{where}: several plates in one folder?", problems)
    order = table["well"].map(lambda well: parse_well(well))
    table = table.assign(_order=order).sort_values(["_order", "field", "channel", "t", "z"], kind="stable")
    return table.drop(columns="_order").reset_index(drop=True)


def unique_names(names: Mapping[object, str]) -> dict:
    """Channel names by key, made unique where two keys share a name ("DAPI", "DAPI (2)"); an empty one is its key."""
    given: dict = {}
    for key, name in names.items():
        name = " ".join(str(name).split()) or f"channel {key}"
        candidate, number = name, 2
        while candidate in given.values():
            candidate, number = f"{name} ({number})", number + 1
        given[key] = candidate
    return given


def listed_path(folder: Path, name: str, index: Path) -> str:
    """Absolute path of a file that an index names, relative to `folder`.

    Raises
    ------
    InputError
        If the name is empty, absolute or leads out of the folder. (It may name a file that is not there.)
    """
    plain = PurePosixPath(name.strip().replace("\\", "/"))
    # A colon is fine in a POSIX name; a drive letter is not a name that belongs to the export.
    if not plain.parts or plain.is_absolute() or ".." in plain.parts or re.match(r"[A-Za-z]:/", str(plain)):
        raise InputError(
            f"{index}: names the file {name!r}, which is not in the export's folder: the index is damaged."
        )
    return str(folder.joinpath(*plain.parts))


def image_header(path: str | Path) -> tuple[int, int, int]:
    """Height, width (pixels) and number of pages of an image file, from its header.

    Raises
    ------
    InputError
        If the header cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".png":
            with path.open("rb") as file:
                header = file.read(24)
            if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
                raise ValueError("no PNG header")
            return int.from_bytes(header[20:24], "big"), int.from_bytes(header[16:20], "big"), 1
        with tifffile.TiffFile(path, is_ome=False) as tiff:
            page = tiff.pages[0]
            return int(page.imagelength), int(page.imagewidth), len(tiff.pages)
    except Exception as error:  # whatever a parser raises on a damaged header
        raise InputError(f"{path}: its header cannot be read: {error}.") from error


def size_of_first(paths: Iterable[str]) -> tuple[int, int] | None:
    """Height and width of the first file whose header can be read, None if there is none."""
    for path in paths:
        try:
            return image_header(path)[:2]
        except InputError:
            continue
    return None


def parse_xml(
    source: Path | bytes, where: str | Path, each: Mapping[str, Callable[[Element], None]] | None = None
) -> Element:
    """Parse XML from an instrument; names of tags and attributes come without their namespaces.

    Parameters
    ----------
    source
        A file, or its bytes. A byte-order mark is allowed.
    where
        What a message begins with.
    each
        Functions by tag name; each element of that name is handed over as it ends and then dropped, so that an index
        of 100,000 images needs no memory for its tree.

    Returns
    -------
    xml.etree.ElementTree.Element
        The root, without the elements handed over.

    Raises
    ------
    InputError
        If the XML is not well formed, or declares a document type: entities could expand to gigabytes or name files.
    """
    each = each or {}
    stack: list[Element] = [Element("document")]

    def refuse(*_: object) -> None:
        raise InputError(f"{where}: declares a document type, which no instrument writes: it is not read.")

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(_local(tag), {_local(name): value for name, value in attributes.items()})
        if element.tag not in each:
            stack[-1].append(element)
        stack.append(element)

    def end(_: str) -> None:
        element = stack.pop()
        if element.tag in each:
            each[element.tag](element)

    def text(data: str) -> None:
        stack[-1].text = (stack[-1].text or "") + data

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        if isinstance(source, bytes):
            parser.Parse(source, True)
        else:
            with source.open("rb") as file:
                parser.ParseFile(file)
    except (expat.ExpatError, OSError, UnicodeError) as error:
        raise InputError(f"{where}: cannot be read as XML ({error}): was it copied whole?") from error
    return stack[0][0]


def child_text(element: Element, tag: str, default: str = "") -> str:
    """Text of the first child named `tag`, stripped."""
    child = element.find(tag)
    return default if child is None or child.text is None else child.text.strip()


def to_float(text: str | None) -> float:
    """A finite number, or NaN where there is none."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def choose_channels(source: PlateSource, channel: str | float | Iterable[str | float] | None = None) -> list[str]:
    """Names of the channels of a plate that `channel` asks for, in that order (see `choose_planes`)."""
    wavelengths = source.planes.groupby("channel")["wavelength"].agg(lambda known: known.iloc[0])
    names = list(wavelengths.index)
    if channel is None:
        return names
    if isinstance(channel, str | int | float | np.number):
        channel = [channel]
    plate = f"plate {source.name!r}"
    chosen = list(dict.fromkeys(find_channel(plate, wavelengths.to_dict(), one) for one in channel))
    if not chosen:
        raise InputError(f"plate {source.name!r}: no channel is asked for; it has {listed(names)}.")
    return chosen


def choose_planes(
    source: PlateSource,
    channel: str | float | Iterable[str | float] | None = None,
    z: int | str | None = None,
    t: int | None = None,
) -> pd.DataFrame:
    """The planes to use of a plate.

    Parameters
    ----------
    source
        A plate.
    channel
        Name of a channel (letter case does not matter), its emission wavelength in nanometres (the nearest within
        `equinuclei.channels.WAVELENGTH_TOLERANCE`), or several of either. None: every channel.
    z
        A plane counted from 0; or "max" or "mean": every plane, to be projected by the caller. None is "max", except
        that a projection of the instrument is taken where there is one. Where a field has no plane, as some exports
        hold projections only, its projection stands for any z.
    t
        Time point; None is the first one.

    Returns
    -------
    pandas.DataFrame
        Columns of `PlateSource.planes`. Several rows of one well, field and channel are planes to project. Channels
        come in the order in which they were asked for, within well and field.

    Raises
    ------
    InputError
        If there is no such channel, plane or time point.
    """
    chosen = choose_channels(source, channel)
    planes = source.planes[source.planes["channel"].isin(chosen)]
    times = sorted(set(planes["t"]))
    t = times[0] if t is None else t
    if t not in times:
        raise InputError(f"plate {source.name!r}: there is no time point {t}; it has {times[0]} to {times[-1]}.")
    planes = planes[planes["t"] == t]
    projected = planes["z"] == PROJECTION
    real = planes[~projected]
    keys = ["well", "field", "channel"]
    if z is None:
        first, second = planes[projected], real
    elif z in ("max", "mean"):
        first, second = real, planes[projected]
    elif isinstance(z, int | np.integer) and not isinstance(z, bool):
        first, second = real[real["z"] == z], planes[projected]
        if first.empty and second.empty:
            raise InputError(
                f"plate {source.name!r}: there is no plane z {z}; it has {real['z'].min()} to {real['z'].max()}."
            )
    else:
        raise InputError(f"z {z!r} is neither a plane counted from 0, nor 'max' or 'mean'.")
    have = set(first[keys].itertuples(index=False, name=None))
    rest = [key not in have for key in second[keys].itertuples(index=False, name=None)]
    planes = pd.concat([first, second[np.array(rest, bool)]]) if len(second) else first
    order = {name: number for number, name in enumerate(chosen)}
    planes = planes.assign(_well=planes["well"].map(parse_well), _channel=planes["channel"].map(order))
    planes = planes.sort_values(["_well", "field", "_channel", "z"], kind="stable", ignore_index=True)
    return planes.drop(columns=["_well", "_channel"])


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
