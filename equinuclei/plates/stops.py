"""Jobs of plates that stopped: why, told until they succeed. They are tried again at every tick.

Imports nothing that Snakemake does not bring.
"""

import errno
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from equinuclei.errors import InputError, StoppedError, UnavailableError, is_of_the_system
from equinuclei.plates.scan_table import READY, REMOVED, ScannedPlate
from equinuclei.runtime.files import read_record, write_json

logger = logging.getLogger("equinuclei.plates.stops")

_TOLD_BY_THE_JOB = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""A disk that is full or cannot be written: `equinuclei.runtime.job` says what to do."""


class QuarantinedError(InputError):
    """A fault that was proved in a plate's own files, and is recorded as such."""


@contextmanager
def telling_stops(results: str | Path, plate: str, job: str) -> Iterator[None]:
    """Record why a job of a plate stops, if the block raises, in `<results>/stopped/<plate>/<job>.json`.

    Nothing but the next success of the same job ends the record, and nothing is decided by it: the job is tried again
    at every tick. What the file system or the machine raised becomes an UnavailableError, whatever was made of it on
    the way: it says nothing about the content of a file.

    job : name of the rule, with what tells its jobs for one plate apart
    """
    record = _folder(results, plate) / f"{job}.json"
    try:
        yield
    except QuarantinedError:
        _forget(record)
        raise
    except Exception as error:
        why = _in_words(error)
        _write(record, _stop(plate, job, why))
        if _is_unavailable(error):
            raise UnavailableError(why) from error
        raise
    _forget(record)


def stops_of(results: str | Path, plate: str) -> list[str]:
    """Why jobs of a plate stopped when they last ran, each in one line."""
    found = []
    for path in sorted(_folder(results, plate).glob("*.json")):
        try:
            record = read_record(path, "the record of a job that stopped", "delete it")
            found.append(f"{record['job']} stopped on {record['host']} ({record['when']}): {record['why']}")
        except (InputError, StoppedError, KeyError) as error:
            found.append(f"{path.stem} stopped; its record cannot be read ({error})")
    return [" ".join(text.split()) for text in found]


def with_stops(plates: Iterable[ScannedPlate], results: str | Path) -> list[ScannedPlate]:
    """Rows of the scan, with the reasons why jobs of a plate that is ready stopped."""
    told = []
    for plate in plates:
        stops = stops_of(results, plate.plate) if plate.status in (READY, REMOVED) else []
        told.append(replace(plate, why="; ".join(stops)) if stops else plate)
    return told


def record_problems(results: str | Path, plates: Iterable[str], job: str, problems: Mapping[str, str]) -> None:
    """Record why a job that concerns many plates could not use some of them.

    plates : all of them; problems : what is wrong, by plate
    """
    for plate in plates:
        record = _folder(results, plate) / f"{job}.json"
        if plate in problems:
            _write(record, _stop(plate, job, problems[plate]))
        else:
            _forget(record)


def forget_stops(results: str | Path, plate: str) -> None:
    """Remove what is recorded of a plate's stops: it has its page."""
    for path in _folder(results, plate).glob("*.json"):
        _forget(path)
    with suppress(OSError):
        _folder(results, plate).rmdir()


def _folder(results: str | Path, plate: str) -> Path:
    return Path(results) / "stopped" / plate


def _is_unavailable(error: Exception) -> bool:
    """Whether something could not be read or written that may be in order; full disks are told by the job itself."""
    return not isinstance(error, StoppedError) and is_of_the_system(error) and not _has(error, _TOLD_BY_THE_JOB)


def _in_words(error: Exception) -> str:
    """What is told of an error: of one of the system, which file and what happened, not what a parser made of it."""
    if not _is_unavailable(error):
        plain = isinstance(error, InputError | StoppedError | OSError)
        return str(error) if plain else f"{type(error).__name__}: {error}"
    source: BaseException | None = error
    while source is not None and not isinstance(source, OSError | MemoryError):
        source = source.__cause__ or source.__context__
    if isinstance(source, OSError):
        where = f"{source.filename}: " if source.filename else ""
        return f"{where}cannot be used now ({source.strerror}); the next tick tries again"
    return f"there is too little memory ({source}): give the job more; the next tick tries again"


def _has(error: BaseException | None, numbers: tuple[int, ...]) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        error = error.__cause__ or error.__context__
    return False


def _write(path: Path, record: dict[str, str]) -> None:
    try:
        write_json(path, record)
    except OSError as error:  # the results may lie on the very disk that is away
        logger.warning("%s: cannot be written (%s)", path, error.strerror)


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _stop(plate: str, job: str, why: str) -> dict[str, str]:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"plate": plate, "job": job, "why": why, "host": socket.gethostname(), "when": when}
