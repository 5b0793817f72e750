"""A folder of unfinished work has one owner at a time, however many hosts and jobs want it.

A cluster can run the same work twice: a controller is killed and restarted while its jobs go on, a node comes back with
processes that were believed dead, a job is requeued. Work therefore lies in `<base>/<token>/`. Beside it lies the
owner's record, `<base>/owner-<token>`, whose modification time is the owner's heartbeat. A job that finds a living
owner waits. A job that finds a dead one renames `<base>/<old token>` to its own token; of several such jobs one
succeeds. If the old owner wakes up, its paths no longer exist and it stops at its next commit. Only renames and
removals decide, and these are atomic on network file systems too. Results are therefore safe even if a living owner was
taken for dead.
"""

import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from equinuclei.errors import StoppedError

logger = logging.getLogger("equinuclei")

STALE = float(os.environ.get("EQUINUCLEI_STALE", "120"))
"""Seconds without a heartbeat after which an owner on another host counts as dead. Network file systems may report
modification times a minute late. The variable is for tests."""

HEARTBEAT = STALE / 12
"""Seconds between an owner's heartbeats."""

POLL = 2.0
"""Seconds between two checks on the owner that a job waits for."""


@contextmanager
def owned(base: Path, is_finished: Callable[[], bool]) -> Iterator[Path | None]:
    """Yield a folder inside `base` that this job alone owns, with what former owners left in it.

    If another living job owns it, this one waits; if that job finishes the work (`is_finished`), None is yielded. At
    the end ownership is released and the folder is kept.
    """
    token = uuid.uuid4().hex[:12]
    folder = _claim(base, token, is_finished)
    if folder is None:
        yield None
        return
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(_record(folder), stop), daemon=True, name="heartbeat")
    beat.start()
    try:
        yield folder
    finally:
        stop.set()
        beat.join()
        _record(folder).unlink(missing_ok=True)


def require_ownership(folder: Path) -> None:
    """Raise StoppedError if another job took over the folder of an `owned` block, or removed it."""
    if not (_record(folder).exists() and folder.is_dir()):
        raise StoppedError(f"{folder.parent}: another job took over this work; this one stops and writes nothing more")


def _record(folder: Path) -> Path:
    return folder.parent / f"owner-{folder.name}"


def _claim(base: Path, token: str, is_finished: Callable[[], bool]) -> Path | None:
    waited = False
    while True:
        if not base.exists():
            if waited and is_finished():
                logger.info("%s: finished by the job that this one waited for", base.parent)
                return None
            if _found(base, token):
                return base / token
            continue
        with suppress(FileNotFoundError):  # another job was faster: look again
            folders = sorted(path for path in base.iterdir() if path.is_dir())
            with_record = [path for path in folders if _record(path).exists()]
            living = next((path for path in with_record if _lives(path, base, token)), None)
            if living is None:
                if _take_over(base, next(iter(with_record or folders), None), token):
                    return base / token
                continue
            if living.name == token:  # a file server may report a rename as failed although it took place
                return living
            if not waited:
                logger.info("%s: waiting for its owner, %s", base, _describe(living))
                waited = True
        time.sleep(POLL)


def _found(base: Path, token: str) -> bool:
    """Create `base` with this job as its owner; return whether no other job was faster."""
    new = base.with_name(f"{base.name}.new-{token}")
    (new / token).mkdir(parents=True)
    _write_record(new / token)
    try:
        new.rename(base)
    except OSError:  # `base` exists and is not empty
        shutil.rmtree(new, ignore_errors=True)
        return False
    return True


def _take_over(base: Path, old: Path | None, token: str) -> bool:
    """Become the owner of `old`, a folder whose owner is dead. Raises FileNotFoundError if another job was faster."""
    if old is None:  # a base without work, left behind by an interrupted removal
        trash = base.with_name(f"{base.name}.new-{token}")
        base.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
        return False
    new = base / token
    _write_record(new)
    try:
        _record(old).unlink(missing_ok=True)
        old.rename(new)
    except OSError:
        _record(new).unlink(missing_ok=True)
        raise
    return True


def _write_record(folder: Path) -> None:
    record = {"host": _host(), "process": os.getpid(), "started": _started(os.getpid())}
    _record(folder).write_text(json.dumps(record | {"job": os.environ.get("SLURM_JOB_ID")}), encoding="utf-8")


def _lives(folder: Path, base: Path, token: str) -> bool:
    """Whether the owner of a folder is alive: on this host by its process, on another host by its heartbeat."""
    try:
        owner = json.loads(_record(folder).read_text(encoding="utf-8"))
    except ValueError:  # it is being written
        owner = {}
    if owner.get("host") == _host() and owner["started"] != _started(owner["process"]):
        return False
    if owner.get("job") is not None and owner["job"] == os.environ.get("SLURM_JOB_ID"):
        return False  # SLURM restarted this job
    return _modified(_touched(base / f"clock-{token}")) - _modified(_record(folder)) < STALE


def _describe(folder: Path) -> str:
    with suppress(OSError, ValueError):
        owner = json.loads(_record(folder).read_text(encoding="utf-8"))
        job = f"SLURM job {owner['job']}" if owner["job"] else f"process {owner['process']}"
        return f"{job} on {owner['host'].split(' ')[0]}"
    return "another job"


def _host() -> str:
    """Name and process-id namespace of this host: containers may share the name, but not the process ids."""
    return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"


def _started(process: int) -> str | None:
    """When a process of this host started, in clock ticks since boot; None if it is not running.

    It tells a process from a later one with the same id.
    """
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


def _touched(path: Path) -> Path:
    """Set a file's modification time to now, by the clock of its file system."""
    path.touch()
    return path


def _modified(path: Path) -> float:
    """A file's modification time. Opening the file makes a network file system ask its server."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime


def _beat(record: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        try:
            os.utime(record)
        except FileNotFoundError:
            return  # another job took over: `require_ownership` reports it at the next commit
        except OSError:
            continue  # the file system may come back
