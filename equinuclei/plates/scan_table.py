"""scan.tsv: what the last look into the inbox found of every plate.

Imports nothing that Snakemake does not bring.
"""

import csv
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from equinuclei.errors import InputError, UnavailableError
from equinuclei.runtime.files import replacing
from equinuclei.tables.formulas import guarded, unguarded

READY, COPYING, WAITING, INCOMPLETE, REMOVED = "ready", "copying", "waiting", "incomplete", "removed"
UNREADABLE, DUPLICATE, FAILED = "unreadable", "duplicate", "failed"
NO_CHANNEL, NO_MODEL, BAD_MAP = "no channel", "no model", "bad plate map"
EXCLUDED, NOT_SEEN = "excluded", "not seen"
UNAVAILABLE, DATED_AHEAD = "unavailable", "dated ahead"

NOT_TO_BE_PROCESSED = (NO_CHANNEL, NO_MODEL, BAD_MAP, EXCLUDED)
"""Statuses that keep a plate from being processed, also one that was complete before."""

WHAT_TO_DO = {
    COPYING: "nothing: the next tick looks again",
    WAITING: "nothing; or copy the images that are absent",
    INCOMPLETE: "copy the plate again; the reason says whether anything else helps",
    REMOVED: "nothing, or put its folder back: it was not finished",
    UNREADABLE: "if it is a plate: a table planes.tsv in its folder works for any; if not, move it out of the inbox",
    UNAVAILABLE: "nothing if it passes: the next tick looks again. If not, mend what the reason names: a mount, "
    "permissions, a link",
    DATED_AHEAD: "set the clock of the computer that writes the plates right; `touch` the files, or wait for that time",
    DUPLICATE: "move one of the folders out of the inbox",
    FAILED: "mend what the reason names. It is tried again when its files or the settings change, or "
    "failed/<plate>.json is removed",
    NO_CHANNEL: "name its channel: `channel` of its row in the table of plates, or `plates: {channel: ...}` for all",
    NO_MODEL: "correct `model` of its row in the table of plates",
    BAD_MAP: "correct the plate map, or its name in the table of plates",
    EXCLUDED: "nothing: the table of plates says so",
    NOT_SEEN: "nothing if it is still to come; else correct its name in the table of plates",
    READY: "mend what the reason names; the next tick goes on with it. Where it names nothing, its logs tell more",
}
"""What a person can do about a plate that has no result, by its status."""

FOR_A_PERSON = (UNREADABLE, UNAVAILABLE, DATED_AHEAD, DUPLICATE, FAILED, NO_CHANNEL, NO_MODEL, BAD_MAP)
"""Statuses that a person is told at every tick: few of them pass by themselves."""


@dataclass(frozen=True)
class ScannedPlate:
    """A row of scan.tsv.

    plate : identifier of the plate, from barcode and measurement: a re-acquisition is another plate
    folder : where it lies, an absolute path; empty for a plate that only the table of plates names
    status : ready, copying (files still arrive), waiting (for a few images that are absent), incomplete (too many are),
        unreadable (no layout fits), unavailable (the file system does not show it now), dated ahead (files are newer
        than now: a clock is wrong), no channel, no model, bad plate map (it cannot be processed with these settings),
        duplicate (two folders with one identifier), failed (as it is now; see `equinuclei.plates.inbox.quarantine`),
        excluded (by the table of plates), removed (it was ready once, and the folder is gone: its results stay), not
        seen (the table of plates names it, and no folder holds it)
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
_TEXTS = tuple(name for name in COLUMNS if name not in ("files", "bytes"))


def read_scan(path: str | Path) -> list[ScannedPlate]:
    """The rows of scan.tsv; none before the first scan.

    Raises InputError if it is broken, UnavailableError if it cannot be read now.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return [
                ScannedPlate(
                    **{name: unguarded(row[name]) for name in _TEXTS}, files=int(row["files"]), bytes=int(row["bytes"])
                )
                for row in csv.DictReader(file, delimiter="\t")
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read now ({error.strerror})") from error
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of a scan ({error!r}): delete it, and the next tick makes it") from error


def write_scan(path: str | Path, plates: Sequence[ScannedPlate]) -> None:
    """Write scan.tsv, unless it says the same already: what depends on it is made again only when it changes."""
    if Path(path).is_file() and read_scan(path) == list(plates):
        return
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for plate in plates:
            writer.writerow({**asdict(plate), **{name: guarded(getattr(plate, name)) for name in _TEXTS}})


def count_states(plates: Iterable[ScannedPlate], finished: Collection[str]) -> dict[str, int]:
    """How many plates are done, failed (a person has to do something), waiting and excluded.

    finished : identifiers of the plates that have their page
    """
    states: dict[str, set[str]] = {"done": set(), "failed": set(), "waiting": set(), "excluded": set()}
    for plate in plates:
        if plate.status in (READY, REMOVED):
            state = "done" if plate.plate in finished else "failed"
        else:
            state = "failed" if plate.status in FOR_A_PERSON else "waiting"
        states["excluded" if plate.status == EXCLUDED else state].add(plate.plate)
    return {state: len(names) for state, names in states.items()}
