"""The folder where microscopes put their plates: which plates are complete, and what is to be done with them."""

import difflib
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinuclei.checksums import digest, sha256
from equinuclei.errors import InputError, StoppedError, UnavailableError, is_of_the_system
from equinuclei.plates.completeness import Known, Look, ScanSettings, look_at_plate, one_line
from equinuclei.plates.raw_folder import require_as_scanned
from equinuclei.plates.scan_table import (
    DUPLICATE,
    EXCLUDED,
    FAILED,
    NOT_SEEN,
    READY,
    REMOVED,
    UNAVAILABLE,
    UNREADABLE,
    ScannedPlate,
    read_scan,
    write_scan,
)
from equinuclei.plates.stops import QuarantinedError
from equinuclei.runtime.files import read_record, write_json

if TYPE_CHECKING:  # the workflow is parsed with this module, where pandas, which readers need, may not be installed
    from equinuclei.sources.plates.contents import Contents

logger = logging.getLogger("equinuclei.plates.inbox")

PROOF = "inbox.txt"
"""A file of this name in the inbox proves that it is the inbox, also when there is no plate in it."""

_OF_A_MANIFEST = ("plate", "folder", "layout", "content")


def scan_inbox(
    inbox: str | Path,
    results: str | Path,
    read: Callable[[Path], "Contents"],
    settings: ScanSettings,
    output: str | Path,
) -> list[ScannedPlate]:
    """Look at every folder of the inbox, and write a manifest for each plate that is complete.

    A plate is complete when a reader understands it, every file that its index lists exists and is not empty, two scans
    in a row found the same files, and no file is newer than the quiet time. Where a few listed files are absent, or
    images that were planned, it waits longer and goes ahead without them. File times are compared with the one of a
    file made now on the same file system: clocks of servers differ.

    What cannot be looked at now (a mount is absent, a file server does not answer, permission is denied) proves
    nothing: such a plate is unavailable, and the next scan looks again. A plate that was complete once is not taken
    anew with fewer images. A manifest or a mark that cannot be read concerns its plate alone.

    Parameters
    ----------
    inbox
        Each of its folders is a plate, except hidden ones.
    results
        `<results>/manifests/<plate>.json` is written for a complete plate when its content is new or has changed, and
        is never deleted: its row of scan.tsv without status and reason, `listed` (number of its image files) and
        `absent` (those that it goes ahead without, seen from its folder). What stands in `<results>/failed/` is
        described at `quarantine`.
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
    UnavailableError
        If the inbox cannot be listed, or is empty although several plates lay in it at the last scan.
    """
    inbox, results = Path(inbox), Path(results)
    last = read_scan(output)
    folders = _plate_folders(inbox.absolute(), last, Path(output))
    now, own_clock = _file_system_time(inbox, results)
    manifests, broken = _read_manifests(results)
    known = _known_of(folders, last, manifests, own_clock)
    looks = [look_at_plate(folder, known[folder], read, settings, now) for folder in folders]
    _forget_outdated_marks(looks, results)
    plates = _mark_duplicates([look.plate for look in looks])
    plates += _removed_plates(manifests, seen={plate.plate for plate in plates}, folders=set(map(str, folders)))
    plates = [_mark_excluded(_mark_failed(plate, results, settings.digest), settings.excluded) for plate in plates]
    plates = _mark_broken(plates, broken)
    plates += _unseen_plates(settings.named, sorted({plate.plate for plate in plates}))
    ready = {plate.folder for plate in plates if plate.status == READY}
    for look in looks:
        if look.plate.folder in ready:
            _write_manifest(results, look, manifests.get(look.plate.plate))
    write_scan(output, plates)
    return plates


def _plate_folders(inbox: Path, last: Sequence[ScannedPlate], scan: Path) -> list[Path]:
    """The folders of plates, sorted; raises as `scan_inbox` where they are not to be believed."""
    known = [row for row in last if row.files and Path(row.folder).parent == inbox]
    try:
        entries = sorted(inbox.iterdir())
        folders = [path for path in entries if not path.name.startswith(".") and _may_be_folder(path)]
    except (FileNotFoundError, NotADirectoryError) as error:
        if known:
            raise UnavailableError(
                f"inbox {inbox} is not there now, where {len(known)} plates lay at the last scan: is it mounted? "
                "Nothing is done until it is"
            ) from error
        raise InputError(
            f"inbox {inbox} is not a folder: set `plates: {{inbox: ...}}` to the one where plates arrive"
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"inbox {inbox}: {error.filename} cannot be looked at now ({error.strerror}): nothing is done until it can"
        ) from error
    if not folders and len(known) > 1 and PROOF not in {path.name for path in entries}:
        raise UnavailableError(
            f"inbox {inbox} is empty, where {len(known)} plates lay at the last scan: is it mounted? If they were "
            f"moved away, put a file {PROOF} into it, for good: then an empty inbox is believed; or delete {scan} once"
        )
    return folders


def _known_of(
    folders: Sequence[Path], last: Sequence[ScannedPlate], manifests: Mapping[str, Mapping[str, Any]], own_clock: bool
) -> dict[Path, Known]:
    before = {row.folder: row for row in last if row.files}  # not of a plate that was removed from there
    taken = {record["folder"]: name for name, record in manifests.items()}
    return {
        folder: Known(before.get(str(folder)), taken.get(str(folder), ""), manifests, own_clock) for folder in folders
    }


def _may_be_folder(path: Path) -> bool:
    """Whether an entry of the inbox is a folder, or is not shown now: a link to a mount that is away, say."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return True


def _read_manifests(results: Path) -> tuple[dict[str, dict[str, Any]], dict[str, InputError | StoppedError]]:
    """The manifests by plate, and what is wrong with those that cannot be read."""
    folder = results / "manifests"
    found: dict[str, dict[str, Any]] = {}
    broken: dict[str, InputError | StoppedError] = {}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return found, broken
    except OSError as error:
        raise UnavailableError(f"{folder}: cannot be looked at now ({error.strerror})") from error
    for path in (path for path in paths if path.suffix == ".json" and not path.name.startswith(".")):
        try:
            found[path.stem] = read_manifest(path)
        except (InputError, StoppedError) as error:
            broken[path.stem] = error
    return found, broken


def _mark_broken(plates: Sequence[ScannedPlate], broken: Mapping[str, InputError | StoppedError]) -> list[ScannedPlate]:
    """The plates, and those whose manifest cannot be read; a broken one is made anew of a plate that is ready."""
    marked = []
    for plate in plates:
        problem = broken.get(plate.plate)
        if plate.status == READY and isinstance(problem, StoppedError):
            plate = replace(plate, status=UNAVAILABLE, why=one_line(str(problem)))
        marked.append(plate)
    seen = {plate.plate for plate in plates}
    alone = {name: problem for name, problem in broken.items() if name not in seen}
    return marked + [
        ScannedPlate(name, "", UNREADABLE, one_line(str(problem)), "", 0, 0, "") for name, problem in alone.items()
    ]


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
        why = one_line(f"the table of plates names it, and no folder of the inbox holds it{hint}")
        plates.append(ScannedPlate(name, "", NOT_SEEN, why, "", 0, 0, ""))
    return plates


def _removed_plates(
    manifests: Mapping[str, Mapping[str, Any]], seen: Collection[str], folders: Collection[str]
) -> list[ScannedPlate]:
    """Plates that have a manifest, but were not seen in the inbox."""
    gone, replaced = "its folder is gone; its results stay", "its folder holds another plate now; its results stay"
    return [
        ScannedPlate(
            name,
            record["folder"],
            REMOVED,
            replaced if record["folder"] in folders else gone,
            record["layout"],
            0,
            0,
            record["content"],
        )
        for name, record in manifests.items()
        if name not in seen
    ]


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest that `scan_inbox` has written of a plate.

    Raises InputError if it is missing or broken, UnavailableError if it cannot be read now.
    """
    remedy = "delete it, and the next tick of autorun.sh makes it again"
    try:
        record = read_record(path, "the manifest of a plate", remedy)
    except InputError as error:
        if is_of_the_system(error) and not isinstance(error.__cause__, FileNotFoundError):
            raise UnavailableError(f"{path}: cannot be read now; the next tick tries again") from error
        raise
    if any(not isinstance(record.get(key), str) for key in _OF_A_MANIFEST):
        raise InputError(f"{path}: the manifest of a plate lacks {' or '.join(_OF_A_MANIFEST)}: {remedy}")
    return record


def waiting_plates(results: str | Path, settings: str) -> list[str]:
    """Identifiers of the plates that have a manifest and did not fail with it and these settings, sorted.

    A manifest that cannot be read is told, and keeps no other plate.
    """
    results = Path(results)
    manifests, broken = _read_manifests(results)
    for why in broken.values():
        _warn_once(f"{why}. Until then nothing is done with this plate")
    return [
        plate for plate, record in manifests.items() if _failure(results, plate, record["content"], settings) is None
    ]


@contextmanager
def quarantine(results: str | Path, plate: str, settings: str) -> Iterator[None]:
    """Record that a plate cannot be processed as it is, if the block raises an InputError about its own files.

    It is left alone from then on, until its manifest changes (a file is added or replaced), the settings or the code
    that reads plates do, a file is replaced by one of the same size and time, or a person removes
    `<results>/failed/<plate>.json`.

    Nothing is recorded that may pass, or that is no fault of the plate: other errors (memory, time, a dead node), an
    InputError that the file system caused, and any while the raw folder is not what the scan found. These raise a
    StoppedError, and the plate is tried again. So the block may hold nothing but the plate's own files: no weights, no
    device, no results.
    """
    results = Path(results)
    try:
        yield
    except InputError as error:
        if is_of_the_system(error):
            raise UnavailableError(f"{error} (this may pass: the next tick tries again)") from error
        try:
            manifest = read_manifest(results / "manifests" / f"{plate}.json")
            folder = require_as_scanned(manifest["folder"], manifest["content"])
            mark = {"content": folder.content, "settings": settings, "software": _software(), "changed": folder.changed}
            write_json(results / "failed" / f"{plate}.json", {**mark, "why": str(error)})
        except (InputError, StoppedError, OSError) as problem:
            raise StoppedError(f"{error} (not recorded as a fault of the plate: {problem})") from error
        raise QuarantinedError(str(error)) from error
    (results / "failed" / f"{plate}.json").unlink(missing_ok=True)


def _file_system_time(inbox: Path, results: Path) -> tuple[int, bool]:
    """Modification time (ns) of a file made now on the inbox's file system, or on ours where we may not write there.

    Whether it is that of the inbox, too: clocks of servers differ.
    """
    results.mkdir(parents=True, exist_ok=True)
    for folder in (inbox, results):
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".scan-") as file:
                return os.fstat(file.fileno()).st_mtime_ns, folder == inbox
        except OSError:
            continue
    raise InputError(f"{results} cannot be written: set `plates: {{results: ...}}` to a folder that can")


def _mark_duplicates(plates: Sequence[ScannedPlate]) -> list[ScannedPlate]:
    folders: dict[str, list[str]] = {}
    for plate in plates:
        if plate.layout:  # the name of a folder that is not understood proves no plate
            folders.setdefault(plate.plate, []).append(Path(plate.folder).name)
    return [
        replace(
            plate,
            status=DUPLICATE,
            why=one_line(f"the folders {' and '.join(folders[plate.plate])} hold a plate of this identifier"),
        )
        if plate.layout and len(folders[plate.plate]) > 1
        else plate
        for plate in plates
    ]


def _mark_excluded(plate: ScannedPlate, excluded: Collection[str]) -> ScannedPlate:
    if plate.plate in excluded and plate.status != DUPLICATE:
        return replace(plate, status=EXCLUDED, why="the table of plates excludes it")
    return plate


def _mark_failed(plate: ScannedPlate, results: Path, settings: str) -> ScannedPlate:
    if plate.status not in (READY, REMOVED):
        return plate
    why = _failure(results, plate.plate, plate.content, settings)
    if why is None:
        return plate
    return replace(plate, status=FAILED, why=one_line(f"failed/{plate.plate}.json (remove it to try again): {why}"))


def _failure(results: Path, plate: str, content: str, settings: str) -> str | None:
    """Why a plate failed with this content, these settings and this program; None if it did not."""
    mark = _read_mark(results, plate)
    if mark is None:
        return None
    holds = (mark.get("content"), mark.get("settings"), mark.get("software")) == (content, settings, _software())
    return str(mark.get("why", "")) if holds else None


def _read_mark(results: Path, plate: str) -> dict[str, Any] | None:
    """The mark of a plate; None if there is none.

    One that cannot be read is told and counts for nothing: the plate is tried again, and marked anew if it fails.
    """
    try:
        return _parse_mark(results / "failed" / f"{plate}.json")
    except (InputError, StoppedError, OSError) as error:
        _warn_once(str(error))
        return None


def _parse_mark(path: Path) -> dict[str, Any] | None:
    return read_record(path, "the mark of a plate that failed", "the plate is tried again") if path.exists() else None


def _forget_outdated_marks(looks: Sequence[Look], results: Path) -> None:
    """Remove the marks that are broken, and those of plates of which a file was replaced by one of its size and time.

    A plate that is finished by now would keep a broken mark for ever.
    """
    for path in (results / "failed").glob("*.json"):
        try:
            _parse_mark(path)
        except InputError as error:
            _warn_once(str(error))
            path.unlink(missing_ok=True)
        except (StoppedError, OSError):
            continue  # it cannot be read now, which proves nothing
    for look in looks:
        mark = _read_mark(results, look.plate.plate) if look.plate.status == READY else None
        if mark is not None and mark.get("changed", look.changed) != look.changed:
            (results / "failed" / f"{look.plate.plate}.json").unlink(missing_ok=True)


@cache
def _software() -> str:
    """Digest of the code that reads and converts plates: with another one, a plate that failed is tried again."""
    package = Path(__file__).parents[1]
    files = sorted(path for name in ("sources", "plates") for path in (package / name).rglob("*.py"))
    return digest([[path.relative_to(package).as_posix(), sha256(path)] for path in files])


@cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def _write_manifest(results: Path, look: Look, before: Mapping[str, Any] | None) -> None:
    """Write the manifest of a plate, unless it says the same: its time decides whether the plate is converted anew."""
    manifest = {key: value for key, value in asdict(look.plate).items() if key not in ("status", "why")}
    if before is None or {key: before.get(key) for key in manifest} != manifest:
        more = {"listed": look.listed, "absent": list(look.absent)}
        write_json(results / "manifests" / f"{look.plate.plate}.json", manifest | more)
