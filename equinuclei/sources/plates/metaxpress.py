"""Layout "metaxpress": Molecular Devices ImageXpress, as exported by MetaXpress or stored in its database."""

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import tifffile

from equinuclei.errors import InputError, raise_problems
from equinuclei.sources.plates.planes import (
    PROJECTION,
    PlateSource,
    image_header,
    make_planes,
    parse_xml,
    to_float,
    unique_names,
)
from equinuclei.wells import parse_well, well_name

LOOKED_FOR = "a .HTD file, or TIFF files named <plate>_<well>_s<site>_w<wave>"

_GUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
# The GUID follows the number of the wave without a separator and may begin with digits, so it is matched as a whole.
# The name of the plate ends at the first match of a well, because "_w12" looks like one too.
_NAME = re.compile(
    rf"(?P<plate>.*?)_(?P<well>[A-Za-z]{{1,2}}\d{{2}})(?:_s(?P<site>\d+))?(?:_w(?P<wave>\d+))?"
    rf"(?P<thumb>_thumb)?(?P<guid>{_GUID})?\.tiff?",
    re.IGNORECASE | re.DOTALL,
)
_TIME, _Z = re.compile(r"TimePoint_(\d+)", re.IGNORECASE), re.compile(r"ZStep_(\d+)", re.IGNORECASE)
_DEPTH = 4  # <date>/<plate id>/TimePoint_<n>/ZStep_<n>


@dataclass(frozen=True)
class _File:
    path: Path
    plate: str
    well: tuple[int, int]
    site: int
    wave: int
    step: int | None
    time: int


_Field = tuple[tuple[int, int], int]  # well (row, column) and site


def find_metaxpress(path: Path) -> bool:
    """Whether an ImageXpress export lies at `path`."""
    if path.is_file():
        return path.suffix.lower() == ".htd"
    if not path.is_dir():
        return False
    if any(_htd_files(path)):
        return True
    # Without an .HTD file, sites, waves or the database's GUIDs distinguish an export from other folders of images.
    names = [name for name, _ in _tiff_files(path)]
    matches = [_NAME.fullmatch(name) for name in names]
    return bool(names) and all(found and (found["site"] or found["wave"] or found["guid"]) for found in matches)


def read_metaxpress(path: Path) -> PlateSource:
    """Read an ImageXpress export (see `equinuclei.sources.plates.find_plate_source`).

    Files are `<plate>_<well>[_s<site>][_w<wave>][<GUID>].tif` in `TimePoint_<n>/ZStep_<n>/`, where both levels are
    optional; `_thumb` files are ignored. `ZStep_0`, and files beside `ZStep_<n>` folders, are projections; `ZStep_1` is
    z 0. The `.HTD` file contains the names of waves and the plan of the acquisition: missing planes have no row, but
    are counted in the metadata (`absent_planes`, `absent_waves`, `absent_z_steps`, `absent_wells`). Positions, pixel
    size and wavelengths are read from the header of one file per well and site. The stage's y axis points down, and
    positions are those of the centres of fields.

    Raises
    ------
    InputError
        If there is no image, none can be read, or an `.HTD` file is not one of MetaXpress.
    """
    htd_path = path if path.is_file() else next(iter(_htd_files(path)), None)
    folder = path.parent if path.is_file() else path
    htd = _read_htd(htd_path) if htd_path is not None else {}
    files = _find_files(folder)
    if not files:
        raise InputError(f"{path}: no ImageXpress export: looked for {LOOKED_FOR}")
    _check_single_plate(folder, files)
    numbers = sorted({file.wave for file in files})
    by_field: dict[_Field, list[_File]] = {}
    for file in files:
        by_field.setdefault((file.well, file.site), []).append(file)
    headers = {key: _first_header(group) for key, group in by_field.items()}
    if not any(headers.values()):
        raise InputError(f"{path}: none of {len(files)} images can be read: was the export copied completely?")
    by_wave = {wave: _first_header([f for f in files if f.wave == wave]) for wave in numbers}
    names = unique_names(
        {wave: htd.get(f"WaveName{wave}", [""])[0] or by_wave[wave].get("name", f"w{wave}") for wave in numbers}
    )
    wavelengths = {wave: facts.get("wavelength", math.nan) for wave, facts in by_wave.items()}
    rows = _rows(by_field, headers, names, wavelengths)
    plates = sorted({file.plate for file in files})
    known = next(facts for facts in headers.values() if facts)
    metadata = {
        "instrument": "ImageXpress" + (f" {known['serial']}" if known.get("serial") else ""),
        "objective": known.get("objective", ""),
        "barcode": plates[0],
        "measurement": htd.get("UniquePlateIdentifier", [""])[0] or folder.name,
        "started": min((facts["acquired"] for facts in headers.values() if facts.get("acquired")), default=""),
        "plate_type": htd.get("PlateType", [""])[0],
        "rows": _count(htd, "YWells"),
        "columns": _count(htd, "XWells"),
        "index": str(htd_path) if htd_path is not None else "",
        **(_absent(htd, files) if htd else {}),
    }
    return PlateSource(plates[0], "metaxpress", make_planes(rows, path), metadata)


def _rows(
    by_field: Mapping[_Field, Sequence[_File]],
    headers: Mapping[_Field, Mapping],
    names: Mapping[int, str],
    wavelengths: Mapping[int, float],
) -> list[dict]:
    """Rows for `make_planes`. headers : facts by field, maybe empty; names, wavelengths : of the channels, by wave."""
    readable = [facts for facts in headers.values() if facts]
    relative = all("offset" in facts for facts in readable)
    calibrated = next((facts["pixel_size"] for facts in readable if facts["pixel_size"] > 0), math.nan)
    stacked = any(file.step for files in by_field.values() for file in files)
    rows = []
    for (well, site), files in by_field.items():
        facts = headers[well, site]
        if not facts and relative:
            # Offsets from the well's centre are the same in every well, so those of another well apply.
            facts = next((other for (_, number), other in headers.items() if number == site and other), {})
        height, width = (facts.get(side, readable[0][side]) for side in ("height", "width"))
        y, x = facts.get("offset" if relative else "stage", (math.nan, math.nan))
        rows += [
            {
                "well": well_name(*well),
                "field": site,
                "channel": names[file.wave],
                "wavelength": wavelengths[file.wave],
                "z": _z(file.step, stacked),
                "t": file.time,
                "path": str(file.path),
                "y": y - height * calibrated / 2,
                "x": x - width * calibrated / 2,
                "height": height,
                "width": width,
                "pixel_size": calibrated,
                "acquired": facts.get("acquired", ""),
            }
            for file in files
        ]
    return rows


def _htd_files(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.suffix.lower() == ".htd" and child.is_file())


def _tiff_files(folder: Path) -> list[tuple[str, Path]]:
    """Names and folders of the TIFF files at most `_DEPTH` levels below `folder`, without hidden ones."""
    found = []
    for at, folders, names in os.walk(folder):
        depth = len(Path(at).relative_to(folder).parts)
        folders[:] = [] if depth >= _DEPTH else sorted(name for name in folders if not name.startswith("."))
        found += [
            (name, Path(at))
            for name in sorted(names)
            if not name.startswith(".") and name.lower().endswith((".tif", ".tiff"))
        ]
    return found


def _find_files(folder: Path) -> list[_File]:
    files = []
    for name, at in _tiff_files(folder):
        found = _NAME.fullmatch(name)
        if found is None or found["thumb"]:
            continue
        try:
            well = parse_well(found["well"])
        except ValueError:
            continue
        step = time = None
        # `folder` itself may be a TimePoint or ZStep folder.
        for part in (folder.name, *at.relative_to(folder).parts):
            step = int(match[1]) if (match := _Z.fullmatch(part)) else step
            time = int(match[1]) if (match := _TIME.fullmatch(part)) else time
        path = (at / name).absolute()
        site, wave = int(found["site"] or 1), int(found["wave"] or 1)
        files.append(_File(path, found["plate"], well, site, wave, step, time or 1))
    return files


def _check_single_plate(folder: Path, files: list[_File]) -> None:
    seen: dict[tuple, Path] = {}
    problems = []
    for file in files:
        other = seen.setdefault((file.well, file.site, file.wave, file.step, file.time), file.path)
        if other != file.path:
            problems.append(f"{other.relative_to(folder.absolute())} and {file.path.relative_to(folder.absolute())}")
    raise_problems(f"{folder}: several files of the same well, site and wave; give the folder of one plate", problems)


def _z(step: int | None, stacked: bool) -> int:
    if step is None:
        return PROJECTION if stacked else 0
    return PROJECTION if step == 0 else step - 1


def _read_htd(path: Path) -> dict[str, list[str]]:
    """Values by key of an .HTD file: Latin-1 text, with a key and its values on each line."""
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
    if not lines or not lines[0] or lines[0][0] != "HTSInfoFile":
        raise InputError(f"{path}: does not begin with 'HTSInfoFile': it is not an .HTD file of MetaXpress")
    return {line[0]: line[1:] for line in lines if len(line) > 1 and line[1]}


def _count(htd: dict[str, list[str]], key: str) -> int:
    value = to_float(htd.get(key, ["0"])[0])
    return int(value) if value > 0 else 0


def _is_true(htd: dict[str, list[str]], key: str) -> bool:
    return htd.get(key, [""])[0].strip().upper() == "TRUE"


def _absent(htd: dict[str, list[str]], files: list[_File]) -> dict:
    """What was planned according to the .HTD file and is missing in the folder."""
    wells = {
        (row, column)
        for row in range(1, _count(htd, "YWells") + 1)
        for column, chosen in enumerate(htd.get(f"WellsSelection{row}", []), 1)
        if chosen.strip().upper() == "TRUE"
    }
    sites = 1
    if _is_true(htd, "Sites"):
        selected = [
            value.strip().upper() == "TRUE"
            for row in range(1, _count(htd, "YSites") + 1)
            for value in htd.get(f"SiteSelection{row}", [])
        ]
        sites = max(1, sum(selected))
    waves = _count(htd, "NWavelengths") or 1
    steps = set(range(1, _count(htd, "ZSteps") + 1)) if _is_true(htd, "ZSeries") else set()
    times = max(1, _count(htd, "TimePoints"))
    found_waves = {file.wave for file in files}
    planned = len(wells) * sites * waves * max(1, len(steps)) * times
    real = sum(bool(file.step) for file in files) if steps else len(files)
    return {
        "absent_planes": max(0, planned - real),
        "absent_waves": [
            htd.get(f"WaveName{wave}", [f"w{wave}"])[0] for wave in range(1, waves + 1) if wave not in found_waves
        ],
        "absent_z_steps": sorted(steps - {file.step for file in files}),
        "absent_wells": [well_name(*well) for well in sorted(wells - {file.well for file in files})],
    }


def _first_header(files: list[_File]) -> dict:
    """Facts from the header of the first readable file; empty if there is none."""
    for file in files:
        try:
            height, width, _ = image_header(file.path)
            return {"height": height, "width": width, "pixel_size": math.nan, **_metaseries(file.path)}
        except InputError:
            continue
    return {}


def _metaseries(path: Path) -> dict:
    """Facts that MetaXpress has written into the description of a TIFF file."""
    try:
        with tifffile.TiffFile(path, is_ome=False) as tiff:
            page = tiff.pages[0]
            tag = page.tags.get(270) if isinstance(page, tifffile.TiffPage) else None
            description = "" if tag is None else str(tag.value)
    except Exception:  # a file that `image_header` could read a moment ago
        return {}
    if not description.lstrip().startswith("<MetaData"):
        return {}
    try:
        root = parse_xml(description.encode(), path)
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
