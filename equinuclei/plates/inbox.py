"""The folder where microscopes put their plates: which plates are complete, and what is to be done with them."""

import csv
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinuclei.checksums import digest
from equinuclei.errors import InputError
from equinuclei.runtime.files import read_record, replacing, write_json

if TYPE_CHECKING:  # the workflow is parsed with this module, where pandas, which readers need, may not be installed
    from equinuclei.sources.plates.contents import Contents

READY, COPYING, INCOMPLETE, UNREADABLE, DUPLICATE, FAILED, REMOVED = (
    "ready", "copying", "incomplete", "unreadable", "duplicate", "failed", "removed",
)  # fmt: skip


@dataclass(frozen=True)
class ScannedPlate:
    """A row of scan.tsv.

    plate : identifier of the plate, from barcode and measurement: a re-acquisition is another plate
    folder : where it lies, an absolute path
    status : ready, copying (files still arrive), incomplete (listed files are absent), unreadable (no layout fits),
        duplicate (two folders with one identifier), failed (as it is now; see `quarantine`), removed (it was ready
        once, and the folder is gone: its results stay)
    why : the reason, for a person to read
    files, bytes : number and total size of all files below the folder
    content : digest of names, sizes and times of all files
    """

    plate: str
    folder: str
    status: str
    why: str
    layout: str
    files: int
    bytes: int
    content: str


COLUMNS = tuple(field.name for field in fields(ScannedPlate))


def scan_inbox(
    inbox: str | Path,
    results: str | Path,
    read: Callable[[Path], "Contents"],
    *,
    quiet_minutes: float,
    settings: str,
    output: str | Path,
) -> list[ScannedPlate]:
    """Look at every folder of the inbox, and write a manifest for each plate that is complete.

    A plate is complete when a reader understands it, every file that its index lists exists and is not empty, two scans
    in a row found the same number of files and bytes, and no file is newer than the quiet time. File times are compared
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
    quiet_minutes
        How long every file must have been left unchanged.
    settings
        Digest of the settings that plates are processed with: a plate that failed is tried again when it changes.
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
    before = {row.folder: row for row in read_scan(output)} if Path(output).is_file() else {}
    now = _file_system_time(inbox, results)
    found = [
        _scan_folder(folder, before.get(str(folder)), read, newest_allowed=now - 60e9 * quiet_minutes)
        for folder in sorted(inbox.absolute().iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    plates = [_mark_failed(plate, results, settings) for plate in _mark_duplicates(found)]
    plates += _removed_plates(results, seen={plate.plate for plate in plates})
    for plate in plates:
        if plate.status == READY:
            _write_manifest(results, plate)
    _write_scan(output, plates)
    return plates


def read_scan(path: str | Path) -> list[ScannedPlate]:
    """The rows of scan.tsv."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [
            ScannedPlate(
                row["plate"], row["folder"], row["status"], row["why"], row["layout"], int(row["files"]),
                int(row["bytes"]), row["content"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]  # fmt: skip


def _write_scan(path: str | Path, plates: Iterable[ScannedPlate]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(plate) for plate in plates)


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
    folder: Path, before: ScannedPlate | None, read: Callable[[Path], "Contents"], newest_allowed: float
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
    try:
        contents = read(folder)
    except InputError as error:
        recent = newest > newest_allowed
        why = "files are still arriving; not yet understood: " if recent else ""
        return replace(plate, status=COPYING if recent else UNREADABLE, why=_one_line(f"{why}{error}"))
    plate = replace(plate, plate=plate_identifier(contents.barcode, contents.measurement), layout=contents.layout)
    absent = [path for path in contents.listed if not _is_whole(path)]
    if newest > newest_allowed:
        return replace(plate, status=COPYING, why="files changed within the quiet time")
    if before is None or (before.files, before.bytes) != (plate.files, plate.bytes):
        return replace(plate, status=COPYING, why="seen so for the first time; the next scan tells whether it grows")
    if absent:
        names = ", ".join(path.name for path in absent[:3])
        return replace(
            plate,
            status=INCOMPLETE,
            why=_one_line(f"{len(absent)} of {len(contents.listed)} listed files are absent or empty: {names}"),
        )
    return plate


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


def _mark_duplicates(plates: Iterable[ScannedPlate]) -> list[ScannedPlate]:
    plates = list(plates)
    count = Counter(plate.plate for plate in plates)
    return [
        replace(plate, status=DUPLICATE, why="two folders hold a plate of this identifier: move one away")
        if count[plate.plate] > 1
        else plate
        for plate in plates
    ]


def _mark_failed(plate: ScannedPlate, results: Path, settings: str) -> ScannedPlate:
    if plate.status == READY and _has_failed(results, plate.plate, plate.content, settings):
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
