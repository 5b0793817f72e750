"""Layout "metaxpress": Molecular Devices ImageXpress, as exported by MetaXpress or stored in its database."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from equinuclei.errors import InputError, raise_problems
from equinuclei.sources.plates.folder_files import walk
from equinuclei.sources.plates.htd import (
    Htd,
    absentees,
    number_in,
    planned_planes,
    planned_steps,
    planned_times,
    planned_waves,
    plans_projection,
    read_htd,
    text_in,
)
from equinuclei.sources.plates.imagexpress_headers import first_header, page_count
from equinuclei.sources.plates.listing import names_in
from equinuclei.sources.plates.planes import (
    PROJECTION,
    PlateSource,
    make_planes,
    no_planned_planes,
    unique_names,
)
from equinuclei.wells import parse_well, well_name

LOOKED_FOR = "a .HTD file, or TIFF files named <plate>_<well>_s<site>_w<wave>"

_GUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
# The GUID follows the number of the wave without a separator and may begin with digits, so it is matched as a whole.
# The name of the plate ends at the first match of a well, because "_w12" looks like one too.
_NAME = re.compile(
    r"(?P<plate>.*?)_(?P<well>[A-Za-z]{1,2}\d{2})(?:_s(?P<site>\d+))?(?:_w(?P<wave>\d+))?(?:_t(?P<time>\d+))?"
    rf"(?P<thumb>_thumb)?(?P<guid>_?[\[{{]?{_GUID}[\]}}]?)?(?P<thumb_after>_thumb)?\.tiff?",
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
    time: int | None


@dataclass
class _Folder:
    """What a folder holds: images of a plate, thumbnails, and TIFF files with other names."""

    images: list[_File] = field(default_factory=list)
    set_aside: dict[str, str] = field(default_factory=dict)
    unknown: list[Path] = field(default_factory=list)


class _Wave(NamedTuple):
    """A wave: name of the channel, emission in nanometres (NaN if unknown), and planes in each of its files."""

    name: str
    wavelength: float
    pages: int


_Field = tuple[tuple[int, int], int]  # well (row, column) and site


def find_metaxpress(path: Path) -> bool:
    """Whether an ImageXpress export lies at `path`."""
    if path.is_file():
        return path.suffix.lower() == ".htd"
    if not path.is_dir():
        return False
    if _htd_files(path):
        return True
    # Without an .HTD file, sites, waves or the database's GUIDs distinguish an export from other folders of images. A
    # file that was put among them does not.
    names = [name for name, _ in _tiff_files(path)]
    matches = [_NAME.fullmatch(name) for name in names]
    return 2 * sum(bool(found and (found["site"] or found["wave"] or found["guid"])) for found in matches) > len(names)


def read_metaxpress(path: Path) -> PlateSource:
    """Read an ImageXpress export (see `equinuclei.sources.plates.find_plate_source`).

    Files are `<plate>_<well>[_s<site>][_w<wave>][_t<time>][<GUID>].tif` in `TimePoint_<n>/ZStep_<n>/`, where both
    levels are optional; `_thumb` files are set aside, and `unknown_images` counts other TIFF files. `ZStep_0`, and
    files beside `ZStep_<n>` folders, are projections; `ZStep_1` is z 0. The pages of a file without ZStep are z. The
    `.HTD` file contains the names of waves and the plan of the acquisition: what it plans and the folder lacks is
    `planned`, and counted in the metadata (`absent_planes`, `absent_waves`, `absent_z_steps`, `absent_wells`).
    Positions, pixel size and wavelengths are read from the header of one file per well and site, the number of pages
    from three files per wave. The stage's y axis points down, and positions are those of the centres of fields.

    Raises
    ------
    InputError
        If there is no image, none can be read, an `.HTD` file is not one of MetaXpress, there are several plates, or
        the pages of a file are no planes of a stack.
    """
    folder = path.parent if path.is_file() else path
    htd_paths = [path] if path.is_file() else _htd_files(path)
    found = _find_files(folder)
    if not found.images:
        raise InputError(f"{path}: no ImageXpress export: looked for {LOOKED_FOR}")
    _keep_one_plate(found, folder, htd_paths)
    _check_single_images(folder, found.images)
    plate = found.images[0].plate
    htd_path = _htd_of(plate, htd_paths)
    htd = read_htd(htd_path) if htd_path is not None else {}
    by_field: dict[_Field, list[_File]] = {}
    for file in found.images:
        by_field.setdefault((file.well, file.site), []).append(file)
    headers = {key: first_header(file.path for file in group) for key, group in by_field.items()}
    if not any(headers.values()):
        raise InputError(f"{path}: none of {len(found.images)} images can be read: was the export copied completely?")
    waves = _waves(found.images, htd)
    planes = make_planes(_rows(by_field, headers, waves, bool(htd) and plans_projection(htd)), path)
    planned, absent = no_planned_planes(), {}
    if htd:
        # Time points are counted from the plan's first one, which may be absent.
        first = min(file.time or 1 for file in found.images)
        planes["t"] += first - 1 if first <= planned_times(htd) else 0
        names = {number: wave.name for number, wave in waves.items()}
        planned = planned_planes(htd, planes, names)
        absent = absentees(htd, planes, planned, names)
    facts = {
        **_facts(htd, headers),
        "barcode": plate,
        "index": str(htd_path or ""),
        "unknown_images": len(found.unknown),
    }
    facts["measurement"] = text_in(htd, "UniquePlateIdentifier") or folder.name
    return PlateSource(plate, "metaxpress", planes, {**facts, **absent}, planned, found.set_aside)


def _facts(htd: Htd, headers: Mapping[_Field, Mapping]) -> dict:
    """Metadata from the plan and the headers of files."""
    known = next(facts for facts in headers.values() if facts)
    return {
        "instrument": "ImageXpress" + (f" {known['serial']}" if known.get("serial") else ""),
        "objective": known.get("objective", ""),
        "started": min((facts["acquired"] for facts in headers.values() if facts.get("acquired")), default=""),
        "plate_type": text_in(htd, "PlateType"),
        "rows": number_in(htd, "YWells"),
        "columns": number_in(htd, "XWells"),
    }


def _waves(files: Sequence[_File], htd: Htd) -> dict[int, _Wave]:
    """The waves of files and plan, by number."""
    by_wave: dict[int, list[_File]] = {wave: [] for wave in (planned_waves(htd) if htd else ())}
    for file in files:
        by_wave.setdefault(file.wave, []).append(file)
    headers = {wave: first_header(file.path for file in group) for wave, group in sorted(by_wave.items())}
    names = unique_names(
        {wave: text_in(htd, f"WaveName{wave}") or facts.get("name", f"w{wave}") for wave, facts in headers.items()}
    )
    return {
        wave: _Wave(names[wave], facts.get("wavelength", math.nan), _page_count(by_wave[wave], htd))
        for wave, facts in headers.items()
    }


def _page_count(files: Sequence[_File], htd: Htd) -> int:
    """Number of planes of a stack in each file of a wave. Files of a step of a stack are one plane each."""
    if any(file.step is not None for file in files):
        return 1
    pages = page_count([file.path for file in files])
    times, steps = planned_times(htd), planned_steps(htd)
    if pages > 1 and pages == times and pages != steps and all(file.time is None for file in files):
        raise InputError(
            f"{files[0].path}: holds {pages} pages, and the .HTD file plans {times} time points and {steps} steps of a "
            "stack: pages are read as a stack, so export a file per time point"
        )
    return pages


def _rows(
    by_field: Mapping[_Field, Sequence[_File]],
    headers: Mapping[_Field, Mapping],
    waves: Mapping[int, _Wave],
    projected: bool,
) -> list[dict]:
    """Rows for `make_planes`.

    headers : facts by field, maybe empty. projected : whether single images beside a planned stack are projections.
    """
    readable = [facts for facts in headers.values() if facts]
    relative = all("offset" in facts for facts in readable)
    calibrated = next((facts["pixel_size"] for facts in readable if facts["pixel_size"] > 0), math.nan)
    stacked = projected or any(file.step for files in by_field.values() for file in files)
    rows = []
    for (well, site), files in by_field.items():
        facts = headers[well, site]
        if not facts and relative:
            # Offsets from the well's centre are the same in every well, so those of another well apply.
            facts = next((other for (_, number), other in headers.items() if number == site and other), {})
        height, width = (facts.get(side, readable[0][side]) for side in ("height", "width"))
        y, x = facts.get("offset" if relative else "stage", (math.nan, math.nan))
        for file in files:
            wave = waves[file.wave]
            rows += [
                {
                    "well": well_name(*well),
                    "field": site,
                    "channel": wave.name,
                    "wavelength": wave.wavelength,
                    "z": page if wave.pages > 1 else _z(file.step, stacked),
                    "t": file.time or 1,
                    "path": str(file.path),
                    "page": page,
                    "y": y - height * calibrated / 2,
                    "x": x - width * calibrated / 2,
                    "height": height,
                    "width": width,
                    "pixel_size": calibrated,
                    "acquired": facts.get("acquired", ""),
                }
                for page in range(wave.pages)
            ]
    return rows


def _htd_files(folder: Path) -> list[Path]:
    """The plans in a folder, or else in its TimePoint folders."""
    for places in ([folder], [child for child in names_in(folder)[1] if _TIME.fullmatch(child.name)]):
        found = [at / name for at in places for name in names_in(at)[0] if name.lower().endswith(".htd")]
        if found:
            return found
    return []


def _htd_of(plate: str, paths: Sequence[Path]) -> Path | None:
    """The plan that is named like a plate, or else the first one."""
    return next((path for path in paths if path.stem.casefold() == plate.casefold()), next(iter(paths), None))


def _tiff_files(folder: Path) -> list[tuple[str, Path]]:
    """Names and folders of the TIFF files at most `_DEPTH` levels below `folder`, without hidden ones."""
    found = []
    for at, folders, names in walk(folder):
        depth = len(Path(at).relative_to(folder).parts)
        folders[:] = [] if depth >= _DEPTH else sorted(name for name in folders if not name.startswith("."))
        found += [
            (name, Path(at))
            for name in sorted(names)
            if not name.startswith(".") and name.lower().endswith((".tif", ".tiff"))
        ]
    return found


def _find_files(folder: Path) -> _Folder:
    found = _Folder()
    for name, at in _tiff_files(folder):
        path = (at / name).absolute()
        match = _NAME.fullmatch(name)
        well = _well(match["well"]) if match else None
        if match is None or well is None:
            found.unknown.append(path)
            continue
        if match["thumb"] or match["thumb_after"]:
            found.set_aside[str(path)] = "thumbnail"
            continue
        step = None
        time = int(match["time"]) if match["time"] else None
        # `folder` itself may be a TimePoint or ZStep folder.
        for part in (folder.name, *at.relative_to(folder).parts):
            step = int(number[1]) if (number := _Z.fullmatch(part)) else step
            time = int(number[1]) if (number := _TIME.fullmatch(part)) else time
        site, wave = int(match["site"] or 1), int(match["wave"] or 1)
        found.images.append(_File(path, match["plate"], well, site, wave, step, time))
    return found


def _well(text: str) -> tuple[int, int] | None:
    try:
        return parse_well(text)
    except ValueError:
        return None


def _keep_one_plate(found: _Folder, folder: Path, htd_paths: Sequence[Path]) -> None:
    """Leave the images of the plate that a plan is named after; those of others are unknown.

    Raises
    ------
    InputError
        If there are several plates, and plans of none or several of them.
    """
    counts = Counter(file.plate for file in found.images)
    stems = {path.stem.casefold() for path in htd_paths}
    planned = [plate for plate in counts if plate.casefold() in stems]
    if len(counts) > 1 and len(planned) != 1:
        told = ", ".join(f"{plate!r} ({count})" for plate, count in counts.most_common(5))
        raise InputError(f"{folder}: holds images of {len(counts)} plates, {told}: give the folder of one plate")
    if len(counts) > 1:
        found.unknown += [file.path for file in found.images if file.plate != planned[0]]
        found.images = [file for file in found.images if file.plate == planned[0]]


def _check_single_images(folder: Path, files: list[_File]) -> None:
    seen: dict[tuple, Path] = {}
    problems = []
    for file in files:
        other = seen.setdefault((file.well, file.site, file.wave, file.step, file.time or 1), file.path)
        if other != file.path:
            problems.append(f"{other.relative_to(folder.absolute())} and {file.path.relative_to(folder.absolute())}")
    raise_problems(f"{folder}: several files of the same well, site and wave; give the folder of one plate", problems)


def _z(step: int | None, stacked: bool) -> int:
    if step is None:
        return PROJECTION if stacked else 0
    return PROJECTION if step == 0 else step - 1
