"""What the headers of ImageXpress's TIFF files say: MetaXpress's facts on the image, and how many planes it holds."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import tifffile

from equinuclei.errors import InputError, reading
from equinuclei.sources.images import open_tiff
from equinuclei.sources.plates.planes import header_if_there, parse_xml, to_float

_AXES = {"C": "channels", "T": "time points"}


def first_header(paths: Iterable[Path]) -> dict:
    """Facts from the header of the first readable file; empty if there is none.

    Height and width in pixels, pixel_size in micrometres (NaN if unknown); and wavelength, name of the wave, objective,
    serial, acquired, and the centre (y, x) in micrometres as `offset` from the well's centre or `stage`, if known.
    """
    for path in paths:
        if (header := header_if_there(path)) is not None:
            return {"height": header[0], "width": header[1], "pixel_size": math.nan, **_metaseries(path)}
    return {}


def page_count(paths: Sequence[Path]) -> int:
    """Number of planes of a stack in each of these TIFF files, a page each: the most in the first, middle and last one.

    Pages of different sizes are no stack: 1, and the others are left to those who look for pages without a plane. The
    same holds for a file that cannot be read: reading its plane says why.

    Raises
    ------
    InputError
        If a file says that its pages are channels or time points, or holds several planes in one page.
    """
    sample = {paths[at] for at in (0, len(paths) // 2, -1)} if paths else ()
    return max(map(_pages, sample), default=1)


def _pages(path: Path) -> int:
    try:
        with reading(path), open_tiff(path) as tiff:
            first, pages, series = tiff.pages[0], len(tiff.pages), list(tiff.series)
            samples = first.samplesperpixel if isinstance(first, tifffile.TiffPage) else 1
            ome = _description(tiff) if _description(tiff).rstrip().endswith("OME>") else ""
            kind = "OME" if ome else "ImageJ" if tiff.is_imagej else ""
            sizes = _ome_sizes(ome, path, samples) if ome else dict(zip(series[0].axes, series[0].shape, strict=True))
    except InputError:
        return 1
    others = [f"{sizes[axis]} {what}" for axis, what in _AXES.items() if sizes.get(axis, 1) > 1]
    if pages > 1 and kind and others:
        raise InputError(
            f"{path}: its {pages} pages hold {' and '.join(others)} by its {kind} metadata, and are no planes of a "
            "stack: export a file per plane, or list its pages in a table of planes"
        )
    # An OME file's series can go on in other files.
    if pages == 1 and kind != "OME" and math.prod(n for axis, n in sizes.items() if axis not in "YXS") > 1:
        raise InputError(
            f"{path}: holds several planes in one page, as MetaMorph's and large ImageJ stacks do: export a file per "
            "plane"
        )
    return pages if len(series) == 1 else 1


def _ome_sizes(description: str, path: Path, samples: int) -> dict[str, int]:
    """Number of channels (of one sample each, or of several colours) and time points by an OME description."""
    pixels = parse_xml(description.encode(errors="replace"), path).find("Image/Pixels")
    said = {} if pixels is None else {axis: _positive(pixels.get(f"Size{axis}")) for axis in _AXES}
    known = {axis: int(size) for axis, size in said.items() if size > 0}
    return known | {"C": known.get("C", 1) // max(1, samples)}


def _description(tiff: tifffile.TiffFile) -> str:
    """The text in the header of a file's first page, "" if it has none."""
    page = tiff.pages[0]
    tag = page.tags.get(270) if isinstance(page, tifffile.TiffPage) else None
    return "" if tag is None else str(tag.value)


def _metaseries(path: Path) -> dict:
    """Facts that MetaXpress has written into the description of a TIFF file."""
    with reading(path), open_tiff(path) as tiff:
        description = _description(tiff)
    if not description.lstrip().startswith("<MetaData"):
        return {}
    try:
        root = parse_xml(description.encode(errors="replace"), path)
    except InputError:
        return {}
    plane = root.find("PlaneInfo")
    properties = {
        element.get("id", ""): element.get("value", "")
        for element in (plane if plane is not None else Element("none"))
        if element.tag in ("prop", "custom-prop")
    }
    facts: dict = {
        "wavelength": _positive(properties.get("wavelength")),
        "name": properties.get("_IllumSetting_", ""),
        "objective": properties.get("_MagSetting_", ""),
        "serial": properties.get("Instrument Serial Number", ""),
        "acquired": _iso(properties.get("acquisition-time-local", "")),
    }
    if properties.get("spatial-calibration-units", "").casefold() in ("um", "µm", "\u03bcm", "micron", "microns"):
        facts["pixel_size"] = _positive(properties.get("spatial-calibration-x"))
    for key, (y, x) in {
        "offset": ("OffsetFromWellCenterUmY", "OffsetFromWellCenterUmX"),
        "stage": ("stage-position-y", "stage-position-x"),
    }.items():
        if y in properties and x in properties:
            facts[key] = (to_float(properties[y]), to_float(properties[x]))
    if not facts["name"]:
        del facts["name"]
    return facts


def _positive(text: str | None) -> float:
    value = to_float(text)
    return value if value > 0 else math.nan


def _iso(text: str) -> str:
    """ "20240709 13:13:03.006" as "2024-07-09T13:13:03.006"; "" for anything else."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)", text.strip())
    return f"{found[1]}-{found[2]}-{found[3]}T{found[4]}" if found else ""
