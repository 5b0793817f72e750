"""Who owns a folder of unfinished work, and whether that job lives.

A record names host, process and SLURM job of an owner. What is known for certain decides: in the same SLURM job, that
SLURM has started it anew since; on this host the process itself, however long it was silent. Of anybody else only the
heartbeat tells, the modification time of the record. That is compared with the clock of the same file system, and
watched: a time that changes is the beat of a living owner, whatever the clocks say.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STALE = float(os.environ.get("EQUINUCLEI_STALE", "120"))
"""Seconds without a heartbeat after which an owner that only its heartbeat tells of counts as dead. Network file
systems may report modification times a minute late. The variable is for tests."""

HEARTBEAT = STALE / 12
"""Seconds between an owner's heartbeats."""

WATCHED = 2.5
"""Heartbeats for which a record must have been seen not to change, before its age counts."""

_CARRIED = "EQUINUCLEI_JOB_START"
"""Variable of `carry_start`: id, restarts and start of the SLURM job."""

_owned_here: set[str] = set()
"""Tokens of the owners in this process that have not let go of their work."""


@contextmanager
def living_here(token: str) -> Iterator[None]:
    """Know, in the block, that the owner of this token is in this process."""
    _owned_here.add(token)
    try:
        yield
    finally:
        _owned_here.discard(token)


def write_owner(record: Path) -> None:
    """Write this process's record. It appears whole: on a full disk there is none."""
    owner = {"host": host(), "process": os.getpid(), "started": started(os.getpid()), **_slurm()}
    unfinished = record.with_name(f".{record.name}.new")
    try:
        unfinished.write_text(json.dumps(owner), encoding="utf-8")
        unfinished.replace(record)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def describe(record: Path) -> str:
    """The owner of a record, for a message."""
    with suppress(OSError):
        owner = _read(record)
        if owner.get("job") is not None or owner.get("process") is not None:
            job = f"SLURM job {owner['job']}" if owner.get("job") else f"process {owner.get('process')}"
            name = str(owner["host"]).split(" ")[0] if owner.get("host") else "an unknown host"
            return f"{job} on {name}"
    return "another job"


class Watch:
    """What a waiting job has seen of the records of owners. `clock` : a file that it may touch, beside the records."""

    def __init__(self, clock: Path) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def lives(self, record: Path, is_own: bool = False) -> bool:
        """Whether the owner of a record is alive. Raises FileNotFoundError if the record is gone."""
        if is_own:
            return True
        owner = _read(record)
        certain = _certainly(owner, record.name.removeprefix("owner-"))
        return self._beats(record) if certain is None else certain

    def _beats(self, record: Path) -> bool:
        modified, before = _modified(record), self._seen.get(record.name)
        seen = self._seen[record.name] = _Seen(modified, time.monotonic())
        if before is not None and before.modified == modified:
            # Not the whole time since the last look: this process and the owner may have been suspended together.
            seen.silent = before.silent + min(seen.at - before.at, HEARTBEAT / 2)
        if seen.silent >= STALE:  # whatever the time says: it may lie in the future of a clock that was set back
            return False
        self._clock.touch()
        return seen.silent < WATCHED * HEARTBEAT or _modified(self._clock) - modified < STALE


@dataclass
class _Seen:
    """A record as it was seen: its modification time, when, and seconds for which it had not changed."""

    modified: float
    at: float
    silent: float = 0.0


def _certainly(owner: Mapping[str, Any], token: str) -> bool | None:
    """Whether an owner lives, as far as anything but its heartbeat proves it; else None."""
    if _is_of_earlier_start(owner):
        return False
    here, process = host(), owner.get("process")
    if here is None or owner.get("host") != here or not isinstance(process, int):
        return None
    if process == os.getpid() and owner.get("started") == started(process):
        return token in _owned_here
    return _runs(process, owner.get("started"))


def _is_of_earlier_start(owner: Mapping[str, Any]) -> bool:
    """Whether SLURM has started the job of an owner anew since, as this one.

    It ends a job before it starts it again, or its node is lost. A step of the same start is another process, which may
    live.
    """
    now = _slurm()
    if now["job"] is None or any(owner.get(name) != now[name] for name in ("job", "cluster")):
        return False
    for name in ("start", "restarts"):  # an earlier SLURM than 23.02 does not tell the first
        then, own = owner.get(name), now[name]
        if isinstance(then, int) and isinstance(own, int):
            return own > then
    return False


def carry_start() -> None:
    """Tell the processes that this one will start which start of its SLURM job this is.

    For Snakemake inside a job: its executor takes SLURM's variables away before it starts the step that does the work,
    and SLURM gives that step its id alone.
    """
    now = _slurm()
    if now["job"] is not None:
        known = ("" if now[name] is None else str(now[name]) for name in ("restarts", "start"))
        os.environ[_CARRIED] = ":".join((now["job"], *known))


def _slurm() -> dict[str, Any]:
    """The SLURM job of this process: its id (None outside of a job), cluster, and which of its starts this is."""
    job = os.environ.get("SLURM_JOB_ID")
    carried = os.environ.get(_CARRIED, "").split(":")
    if len(carried) == 3 and carried[0] == job:
        restarts, start, at_first = carried[1], carried[2], None
    else:
        restarts, start = (os.environ.get(f"SLURM_{name}", "") for name in ("RESTART_COUNT", "JOB_START_TIME"))
        # SLURM names no count at the first start, nor in a shell that joins a job that it has started again.
        at_first = 0 if os.environ.get("ENVIRONMENT") == "BATCH" else None
    return {
        "job": job,
        "cluster": os.environ.get("SLURM_CLUSTER_NAME"),
        "restarts": int(restarts) if restarts.isdigit() else at_first,
        "start": int(start) if start.isdigit() else None,
    }


def host() -> str | None:
    """Name, boot and process-id namespace of this host; None where process ids cannot be told apart.

    Names are not unique (containers, images of virtual machines), and the first namespace of every kernel has the same
    number; but each boot has a number of its own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        if Path("/proc/self").readlink().name != str(os.getpid()):  # /proc is that of another namespace
            return None
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def started(process: int) -> str | None:
    """When a process of this host started, in clock ticks since boot; None if it is not running or not to be seen.

    It tells a process from a later one with the same id.
    """
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


def _runs(process: int, since: object) -> bool | None:
    """Whether a process of this host runs; None if that cannot be seen."""
    found = started(process)
    if found is not None:
        return found == since
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, on a host that hides these
        return None
    return False  # it has ended, and its parent has not asked yet


def _read(record: Path) -> dict[str, Any]:
    """A record; empty if it is broken, as on a disk that was full. Raises FileNotFoundError if it is gone."""
    try:
        owner = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _modified(path: Path) -> float:
    """A file's modification time. Opening the file makes a network file system ask its server."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime
