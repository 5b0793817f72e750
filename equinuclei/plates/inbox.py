"""The folder where microscopes put their plates: which plates are complete, and what is to be done with them."""

import difflib
import math
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinuclei.checksums import digest
from equinuclei.errors import InputError
from equinuclei.plates.scan_table import (
    COPYING,
    DUPLICATE,
    EXCLUDED,
    FAILED,
    INCOMPLETE,
    NOT_SEEN,
    READY,
    REMOVED,
    UNREADABLE,
    WAITING,
    ScannedPlate,
    read_scan,
    write_scan,
)
from equinuclei.runtime.files import read_record, write_json

if TYPE_CHECKING:  # the workflow is parsed with this module, where pandas, which readers need, may not be installed
    from equinuclei.sources.plates.contents import Contents


@dataclass(frozen=True)
class ScanSettings:
    """How the inbox is looked at.

    quiet_minutes : how long every file of a plate must have been left unchanged
    digest : of the settings that plates are processed with: a plate that failed is tried again when it changes
    absent_hours : how long after its newest file a plate waits for images that are absent
    max_bad_fraction : largest share of its listed images that a plate may lack
    named : the plates that the table of plates names; excluded : those that are left alone
    find_problem : status and reason of a plate that these settings do not suit, by identifier and contents; else None
    left_out : what of a plate the settings leave out, in words
    """

    quiet_minutes: float
    digest: str
    absent_hours: float = 24
    max_bad_fraction: float = 0.1
    named: Collection[str] = ()
    excluded: Collection[str] = ()
    find_problem: Callable[[str, "Contents"], tuple[str, str] | None] = lambda plate, contents: None
    left_out: Callable[["Contents"], list[str]] = lambda contents: []


def scan_inbox(
    inbox: str | Path,
    results: str | Path,
    read: Callable[[Path], "Contents"],
    settings: ScanSettings,
    output: str | Path,
) -> list[ScannedPlate]:
    """Look at every folder of the inbox, and write a manifest for each plate that is complete.

    A plate is complete when a reader understands it, every file that its index lists exists and is not empty, two scans
    in a row found the same number of files and bytes, and no file is newer than the quiet time. Where a few listed
    files are absent, or images that were planned, it waits longer and goes ahead without them. File times are compared
    with the one of a file made now on the same file system: clocks of servers differ.

    Parameters
    ----------
    inbox
        Each of its folders is a plate, except hidden ones.
    results
        `<results>/manifests/<plate>.json` is written for a complete plate when its content is new or has changed, and
        is never deleted. What stands in `<results>/failed/` is described at `quarantine`.
    read
        Returns the contents of a folder; raises InputError if it understands nothing there.
    settings
        How to look.
    output
        scan.tsv to make; the one before it is read first.

    Raises
    ------
    InputError
        If the inbox is not there.
    """
    inbox, results = Path(inbox), Path(results)
    if not inbox.is_dir():
        raise InputError(f"inbox {inbox} is not a folder: set `plates: {{inbox: ...}}` to the one where plates arrive")
    before = {row.folder: row for row in read_scan(output)}
    now = _file_system_time(inbox, results)
    found = [
        _scan_folder(folder, before.get(str(folder)), read, settings, now)
        for folder in sorted(inbox.absolute().iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    plates = _mark_duplicates(found)
    plates += _removed_plates(results, seen={plate.plate for plate in plates})
    plates = [_mark_failed(plate, results, settings.digest) for plate in plates]
    plates = [_mark_excluded(plate, settings.excluded) for plate in plates]
    plates += _unseen_plates(settings.named, sorted({plate.plate for plate in plates}))
    for plate in plates:
        if plate.status == READY:
            _write_manifest(results, plate)
    write_scan(output, plates)
    return plates


def tell_failures(scan: str | Path, results: str | Path, settings: str) -> list[ScannedPlate]:
    """Enter the plates that have failed since the scan into scan.tsv, and return its rows."""
    plates = [_mark_failed(plate, Path(results), settings) for plate in read_scan(scan)]
    write_scan(scan, plates)
    return plates


def _unseen_plates(named: Collection[str], known: Sequence[str]) -> list[ScannedPlate]:
    """Plates that the table of plates names and no folder holds."""
    plates = []
    for name in sorted(set(named) - set(known)):
        near = [plate for plate in known if plate.startswith(name)] or difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(near[:3])}?" if near else ""
        why = _one_line(f"the table of plates names it, and no folder of the inbox holds it{hint}")
        plates.append(ScannedPlate(name, "", NOT_SEEN, why, "", 0, 0, ""))
    return plates


def _removed_plates(results: Path, seen: Collection[str]) -> list[ScannedPlate]:
    """Plates that have a manifest, but were not seen in the inbox."""
    why = "its folder is gone; its results stay"
    return [
        ScannedPlate(path.stem, record["folder"], REMOVED, why, record["layout"], 0, 0, record["content"])
        for path, record in _manifests(results)
        if path.stem not in seen
    ]


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest that `scan_inbox` has written of a plate. Raises InputError if it is missing or broken."""
    return read_record(path, "the manifest of a plate", "delete it, and the next tick of autorun.sh makes it again")


def waiting_plates(results: str | Path, settings: str) -> list[str]:
    """Identifiers of the plates that have a manifest and did not fail with it and these settings, sorted."""
    results = Path(results)
    return [
        path.stem
        for path, record in _manifests(results)
        if not _has_failed(results, path.stem, record["content"], settings)
    ]


@contextmanager
def quarantine(results: str | Path, plate: str, settings: str) -> Iterator[None]:
    """Record that a plate cannot be processed as it is, if the block raises an InputError.

    It is left alone from then on, until its manifest changes (a file is added or replaced), the settings do, or a
    person removes `<results>/failed/<plate>.json`. Other errors (memory, time, a dead node) are no fault of the plate.
    """
    results = Path(results)
    try:
        yield
    except InputError as error:
        content = read_manifest(results / "manifests" / f"{plate}.json")["content"]
        write_json(results / "failed" / f"{plate}.json", {"content": content, "settings": settings, "why": str(error)})
        raise
    (results / "failed" / f"{plate}.json").unlink(missing_ok=True)


def plate_identifier(barcode: str, measurement: str) -> str:
    """A plate's name for files and rules, from its barcode and its measurement.

    Letters, digits, ".", "_" and "-" are kept. A name that lost anything ends in a digest of what it was, so that
    different plates stay different.
    """
    name = "_".join(part for part in (barcode, measurement) if part)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80]
    return safe if safe and safe == name else f"{safe or 'plate'}_{digest([barcode, measurement])[:8]}"


def _scan_folder(
    folder: Path,
    before: ScannedPlate | None,
    read: Callable[[Path], "Contents"],
    settings: ScanSettings,
    now: float,
) -> ScannedPlate:
    files = sorted(_walk(folder))
    size, newest = sum(entry[1] for entry in files), max((entry[2] for entry in files), default=0)
    plate = ScannedPlate(
        plate_identifier(folder.name, ""),
        str(folder),
        READY,
        "",
        "",
        len(files),
        size,
        digest([list(f) for f in files]),
    )
    if not files:
        return replace(plate, status=INCOMPLETE, why="the folder is empty")
    recent = newest > now - 60e9 * settings.quiet_minutes
    try:
        contents = read(folder)
    except InputError as error:
        why = "files are still arriving; not yet understood: " if recent else ""
        return replace(plate, status=COPYING if recent else UNREADABLE, why=_one_line(f"{why}{error}"))
    plate = replace(plate, plate=plate_identifier(contents.barcode, contents.measurement), layout=contents.layout)
    if recent:
        return replace(plate, status=COPYING, why="files changed within the quiet time")
    if before is None or (before.files, before.bytes) != (plate.files, plate.bytes):
        return replace(plate, status=COPYING, why="seen so for the first time; the next scan tells whether it grows")
    if problem := settings.find_problem(plate.plate, contents):
        return replace(plate, status=problem[0], why=_one_line(problem[1]))
    status, why = _completeness(contents, settings, newest + 3600e9 * settings.absent_hours, now)
    return replace(plate, status=status, why=_one_line(why))


def _completeness(contents: "Contents", settings: ScanSettings, until: float, now: float) -> tuple[str, str]:
    """Status and reason of a plate that has settled. until, now : times in ns, of the end of its longer wait."""
    listed, absent = contents.listed, [path for path in contents.listed if not _is_whole(path)]
    if not listed:
        return UNREADABLE, "its index lists no image file: the instrument recorded none"
    reasons = []
    if absent:
        names = ", ".join(path.name for path in absent[:3]) + (", ..." if len(absent) > 3 else "")
        reasons.append(f"{len(absent)} of {len(listed)} listed images are absent or empty ({names})")
    if len(absent) > settings.max_bad_fraction * len(listed):
        share = math.ceil(100 * len(absent) / len(listed)) / 100
        remedy = "copy the plate again"
        if len(absent) < len(listed):
            remedy += f"; if they are gone for good, set `plates: {{max_bad_fraction: {share:g}}}` or more"
        return INCOMPLETE, f"{reasons[0]}, more than max_bad_fraction {settings.max_bad_fraction:g}: {remedy}"
    if contents.planned:
        total = contents.planned + len(listed) + contents.not_recorded
        reasons.append(f"{contents.planned} of {total} planned images have neither a record nor a file")
    if reasons and now < until:
        return WAITING, f"{'; '.join(reasons)}; goes ahead on {datetime.fromtimestamp(until / 1e9):%Y-%m-%d %H:%M}"
    if reasons:
        reasons[-1] += "; goes ahead without them"
    if contents.not_recorded:
        planes = "1 plane" if contents.not_recorded == 1 else f"{contents.not_recorded} planes"
        reasons.append(f"the instrument recorded no image of {planes}")
    return READY, "; ".join([*reasons, *settings.left_out(contents)])


def _walk(folder: Path) -> Iterator[tuple[str, int, int]]:
    """(relative path, bytes, modification time in ns) of every file below a folder; links to folders are left out."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            try:
                status = file.stat()
            except OSError:  # renamed while we look: the next scan sees it
                continue
            yield file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns


def _is_whole(path: Path) -> bool:
    try:
        return path.is_dir() or path.stat().st_size > 0
    except OSError:
        return False


def _file_system_time(inbox: Path, results: Path) -> int:
    """Modification time (ns) of a file made now on the inbox's file system, or on ours where we may not write there."""
    results.mkdir(parents=True, exist_ok=True)
    for folder in (inbox, results):
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".scan-") as file:
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            continue
    raise InputError(f"{results} cannot be written: set `plates: {{results: ...}}` to a folder that can")


def _mark_duplicates(plates: Sequence[ScannedPlate]) -> list[ScannedPlate]:
    folders: dict[str, list[str]] = {}
    for plate in plates:
        folders.setdefault(plate.plate, []).append(Path(plate.folder).name)
    return [
        replace(
            plate,
            status=DUPLICATE,
            why=_one_line(f"the folders {' and '.join(folders[plate.plate])} hold a plate of this identifier"),
        )
        if len(folders[plate.plate]) > 1
        else plate
        for plate in plates
    ]


def _mark_excluded(plate: ScannedPlate, excluded: Collection[str]) -> ScannedPlate:
    if plate.plate in excluded and plate.status != DUPLICATE:
        return replace(plate, status=EXCLUDED, why="the table of plates excludes it")
    return plate


def _mark_failed(plate: ScannedPlate, results: Path, settings: str) -> ScannedPlate:
    if plate.status in (READY, REMOVED) and _has_failed(results, plate.plate, plate.content, settings):
        why = _read_mark(results / "failed" / f"{plate.plate}.json")["why"]
        return replace(
            plate, status=FAILED, why=_one_line(f"failed/{plate.plate}.json (remove it to try again): {why}")
        )
    return plate


def _has_failed(results: Path, plate: str, content: str, settings: str) -> bool:
    marker = results / "failed" / f"{plate}.json"
    if not marker.is_file():
        return False
    record = _read_mark(marker)
    return (record["content"], record["settings"]) == (content, settings)


def _manifests(results: Path) -> list[tuple[Path, Mapping]]:
    return [(path, read_manifest(path)) for path in sorted((results / "manifests").glob("*.json"))]


def _write_manifest(results: Path, plate: ScannedPlate) -> None:
    path = results / "manifests" / f"{plate.plate}.json"
    manifest = {key: value for key, value in asdict(plate).items() if key not in ("status", "why")}
    if not path.is_file() or read_manifest(path) != manifest:
        write_json(path, manifest)


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)


def _read_mark(path: Path) -> dict[str, Any]:
    return read_record(path, "the mark of a plate that failed", "delete it, and the plate is tried again")
