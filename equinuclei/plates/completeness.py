"""Whether the folder of a plate is complete: looked at once per scan."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinuclei.checksums import digest
from equinuclei.errors import InputError, StoppedError, is_of_the_system, reading
from equinuclei.plates.raw_folder import RawFolder, is_absent
from equinuclei.plates.scan_table import (
    COPYING,
    DATED_AHEAD,
    INCOMPLETE,
    READY,
    UNAVAILABLE,
    UNREADABLE,
    WAITING,
    ScannedPlate,
)

if TYPE_CHECKING:  # the workflow is parsed with this module, where pandas, which readers need, may not be installed
    from equinuclei.sources.plates.contents import Contents

_SKEW = 3600e9
"""Nanoseconds that a file may be newer than now before a clock is taken to be wrong."""


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


def plate_identifier(barcode: str, measurement: str) -> str:
    """A plate's name for files and rules, from its barcode and its measurement.

    Letters, digits, ".", "_" and "-" are kept. A name that lost anything ends in a digest of what it was, so that
    different plates stay different.
    """
    name = "_".join(part for part in (barcode, measurement) if part)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80]
    return safe if safe and safe == name else f"{safe or 'plate'}_{digest([barcode, measurement])[:8]}"


@dataclass(frozen=True)
class Look:
    """What was seen of a plate's folder.

    plate : its row in scan.tsv
    listed : number of image files that it lists
    absent : those that are not there or empty, seen from the folder
    changed : see `RawFolder`; 0 where it was not looked at as far
    """

    plate: ScannedPlate
    listed: int = 0
    absent: tuple[str, ...] = ()
    changed: int = 0


@dataclass(frozen=True)
class Known:
    """What is known of a folder from before.

    before : its row of the last scan; None if that did not see it
    name : identifier of the plate that was taken from it; "" if none was
    manifest : of the plate with that identifier, by identifier; without those that cannot be read
    own_clock : whether the time now is by the clock of its file system
    """

    before: ScannedPlate | None
    name: str
    manifests: Mapping[str, Mapping[str, Any]]
    own_clock: bool = True

    def is_as_before(self, plate: ScannedPlate) -> bool:
        """Whether a folder is as the last scan saw it. By another clock old files may be new: their times count."""
        if self.before is None or (self.before.files, self.before.bytes) != (plate.files, plate.bytes):
            return False
        if self.before.layout and self.before.plate != plate.plate:
            return False
        return self.own_clock or self.before.content == plate.content


def look_at_plate(
    folder: Path, known: Known, read: Callable[[Path], "Contents"], settings: ScanSettings, now: float
) -> Look:
    """Look at the folder of a plate; what goes wrong is its status and reason. now : time in ns, see `scan_inbox`."""
    name = known.name or plate_identifier(folder.name, "")
    plate = ScannedPlate(name, str(folder), READY, "", "", 0, 0, "")
    try:
        files = RawFolder.of(folder)
        plate = replace(plate, files=files.files, bytes=files.bytes, content=files.content)
        if not files.files:
            return Look(replace(plate, status=INCOMPLETE, why="the folder is empty"))
        return replace(_look_at_files(folder, plate, files.newest, known, read, settings, now), changed=files.changed)
    except (StoppedError, InputError, OSError) as error:
        if known.before is not None:  # with what the next scan will compare
            plate = replace(known.before, plate=name)
        return Look(replace(plate, status=UNAVAILABLE, why=one_line(str(error))))


def _look_at_files(
    folder: Path,
    plate: ScannedPlate,
    newest: int,
    known: Known,
    read: Callable[[Path], "Contents"],
    settings: ScanSettings,
    now: float,
) -> Look:
    recent = newest > now - 60e9 * settings.quiet_minutes
    try:
        with reading(folder):
            contents = read(folder)
    except InputError as error:
        if is_of_the_system(error) and not _is_of_an_absent_file(error):
            raise
        why = "files are still arriving; not yet understood: " if recent else ""
        return Look(replace(plate, status=COPYING if recent else UNREADABLE, why=one_line(f"{why}{error}")))
    plate = replace(plate, plate=plate_identifier(contents.barcode, contents.measurement), layout=contents.layout)
    if not recent and not known.is_as_before(plate):
        why = "seen so for the first time; the next scan tells whether it grows"
        return Look(replace(plate, status=COPYING, why=why))
    if newest > now + _SKEW:
        why = f"a file is dated {_time(newest)}, and it is {_time(now)} now: whether files still arrive cannot be told"
        return Look(replace(plate, status=DATED_AHEAD, why=why))
    if recent:
        return Look(replace(plate, status=COPYING, why="files changed within the quiet time"))
    if problem := settings.find_problem(plate.plate, contents):
        return Look(replace(plate, status=problem[0], why=one_line(problem[1])))
    absent = [path for path in contents.listed if is_absent(path)]
    status, why = _completeness(contents, absent, settings, newest + 3600e9 * settings.absent_hours, now)
    names = tuple(str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in absent)
    look = Look(replace(plate, status=status, why=one_line(why)), len(contents.listed), names)
    return _without_what_is_gone(look, known.manifests.get(plate.plate, {})) if status in (READY, WAITING) else look


def _without_what_is_gone(look: Look, manifest: Mapping[str, Any]) -> Look:
    """A plate that lost images since it was taken is not taken anew without them: a mount may show a part of it.

    manifest : as it was taken; one of an older version does not say what was there.
    """
    if "listed" not in manifest or manifest["content"] == look.plate.content:
        return look
    if gone := sorted(set(look.absent) - set(manifest["absent"])):
        names = ", ".join(gone[:3]) + (", ..." if len(gone) > 3 else "")
        what = f"{len(gone)} images are gone that were there before ({names})"
    elif look.listed < manifest["listed"]:
        what = f"it has {look.listed} images, and had {manifest['listed']} before"
    else:
        return look
    why = (
        f"{what}: nothing is made anew without them. Put them back; or, if they are gone for good, delete "
        f"manifests/{look.plate.plate}.json, and the plate is made anew from the others"
    )
    return replace(look, plate=replace(look.plate, status=INCOMPLETE, why=one_line(why)))


def _is_of_an_absent_file(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def one_line(text: str) -> str:
    """A text for a cell of a table."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)


def _time(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment / 1e9):%Y-%m-%d %H:%M}"


def _completeness(
    contents: "Contents", absent: Sequence[Path], settings: ScanSettings, until: float, now: float
) -> tuple[str, str]:
    """Status and reason of a plate that has settled. until, now : times in ns, of the end of its longer wait."""
    listed = contents.listed
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
        return WAITING, f"{'; '.join(reasons)}; goes ahead on {_time(until)}"
    if reasons:
        reasons[-1] += "; goes ahead without them"
    if contents.not_recorded:
        planes = "1 plane" if contents.not_recorded == 1 else f"{contents.not_recorded} planes"
        reasons.append(f"the instrument recorded no image of {planes}")
    return READY, "; ".join([*reasons, *settings.left_out(contents)])
