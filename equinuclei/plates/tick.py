"""What a tick says at its end of the plates that a person has to look at."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equinuclei.errors import InputError, StoppedError, UnavailableError
from equinuclei.plates.scan_table import EXCLUDED, FOR_A_PERSON, READY, REMOVED, UNAVAILABLE, WHAT_TO_DO, ScannedPlate
from equinuclei.plates.stops import stops_of
from equinuclei.runtime.files import read_record, write_json

TOLD = "told.json"
"""In the folder of results, unless there is nothing to tell: the plates that the last tick told of, and their
statuses."""

KNOWN = Path(".autorun.results")
"""In the working directory: the folders of results, and how many plates were known in each at the last tick."""


def require_results(results: str | Path, scan: str | Path) -> None:
    """Raise UnavailableError if a folder of results is empty that was not: every plate would be made anew beside it.

    scan : scan.tsv in it
    """
    known = _read(KNOWN).get(str(Path(results).absolute()), 0)
    if known and not Path(scan).exists() and not Path(results, "manifests").exists():
        raise UnavailableError(
            f"results {results}: is empty, where {known} plates were known at the last tick: is it mounted? If it was "
            f"emptied on purpose, delete {KNOWN.absolute()}"
        )


def note_results(results: str | Path, plates: int) -> None:
    """Note how many plates are known in a folder of results, for `require_results`."""
    known = _read(KNOWN)
    changed = {**known, str(Path(results).absolute()): plates}
    if changed != known:
        write_json(KNOWN, changed)


@dataclass(frozen=True)
class EndOfTick:
    """What a tick ends with.

    lines : one per plate that a person has to look at: why, and what to do
    is_news : whether one of them was not told before as it is, or stopped and is tried again
    stopped : plates of which a job stopped, finished or not
    """

    lines: Sequence[str]
    is_news: bool
    stopped: Collection[str]


def end_of_tick(plates: Sequence[ScannedPlate], finished: Collection[str], results: str | Path) -> EndOfTick:
    """Tell of the plates that have failed, stopped, or need a person; what is told is noted for the next tick.

    plates : rows of the scan, with what failed since; finished : identifiers of those that have their page
    """
    told: dict[str, str] = {}
    lines, stopped, again = [], set(), False
    for plate in plates:
        stops = [] if plate.status == EXCLUDED else stops_of(results, plate.plate)
        unfinished = plate.status in (READY, REMOVED) and plate.plate not in finished
        if not (stops or unfinished or plate.status in FOR_A_PERSON):
            continue
        status, why = plate.status, plate.why
        if plate.status in (READY, REMOVED) and (stops or plate.status == READY):
            status, why = "stopped", "; ".join(stops) or "its jobs ended without a result"
        again = again or status in ("stopped", UNAVAILABLE)
        if stops:
            stopped.add(plate.plate)
        told[f"{plate.plate} in {plate.folder}"] = status
        lines.append(f"{plate.plate}: {status}: {why}. What to do: {WHAT_TO_DO[plate.status]}")
    path = Path(results, TOLD)
    before = _read(path)
    if not told:
        path.unlink(missing_ok=True)
    elif told != before:
        write_json(path, told)
    return EndOfTick(lines, again or any(before.get(plate) != status for plate, status in told.items()), stopped)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_record(path, "a note of the last tick", "it is written anew") if path.exists() else {}
    except (InputError, StoppedError, OSError):  # then nothing was told, and nothing is known
        return {}
