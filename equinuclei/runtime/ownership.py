"""A folder of unfinished work has one owner at a time, however many hosts and jobs want it.

A cluster can run the same work twice: a controller is killed and restarted while its jobs go on, a node comes back with
processes that were believed dead, a job is requeued. Work therefore lies in `<base>/<token>/`. Beside it lies the
owner's record, `<base>/owner-<token>`, whose modification time is the owner's heartbeat. A job that finds a living
owner waits. A job that finds a dead one renames `<base>/<old token>` to its own token; of several such jobs one
succeeds. If the old owner wakes up, its paths no longer exist and it stops at its next commit. Only renames decide, and
these are atomic on network file systems too: what is to be removed is renamed first. Results are therefore safe even if
a living owner was taken for dead. `equinuclei.runtime.owners` says who lives.
"""

import errno
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from equinuclei.errors import StoppedError
from equinuclei.runtime import owners
from equinuclei.runtime.owners import Watch, describe, living_here, write_owner

logger = logging.getLogger("equinuclei")

_FASTER = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT})
"""What a rename to a base answers that another job has made, or of one that another job has removed."""

POLL = 2.0
"""Seconds between two checks on the owner that a job waits for."""


@contextmanager
def owned(base: Path, is_finished: Callable[[bool], bool]) -> Iterator[Path | None]:
    """Yield a folder inside `base` that this job alone owns, with what former owners left in it.

    If another living job owns it, this one waits. If `is_finished(waited)` says that there is nothing left to do, None
    is yielded. At the end ownership is released and the folder is kept.
    """
    token = uuid.uuid4().hex[:12]
    with living_here(token):
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
            with suppress(OSError):  # it would hide the error that ended the block; others see that it is let go
                _record(folder).unlink(missing_ok=True)


def require_ownership(folder: Path) -> None:
    """Raise StoppedError if another job took over the folder of an `owned` block, or removed it."""
    if not (_record(folder).exists() and folder.is_dir()):
        raise StoppedError(f"{folder.parent}: another job took over this work; this one stops and writes nothing more")


def remove_at_once(path: Path, hidden: str) -> None:
    """Remove a folder, renamed to `hidden-...` beside it first: nobody finds half of it."""
    trash = path.with_name(f"{hidden}-{uuid.uuid4().hex[:12]}")
    with suppress(OSError):  # another job was faster, or it belongs to another user
        path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def _record(folder: Path) -> Path:
    return folder.parent / f"owner-{folder.name}"


def _claim(base: Path, token: str, is_finished: Callable[[bool], bool]) -> Path | None:
    waited, watch = False, Watch(base / f"clock-{token}")
    while True:
        if is_finished(waited):
            logger.info(
                "%s: finished by %s", base.parent, "the job that this one waited for" if waited else "another job"
            )
            return None
        if not base.exists():
            if _found(base, token):
                return base / token
            continue
        with suppress(FileNotFoundError):  # another job was faster: look again
            folders = sorted(path for path in base.iterdir() if path.is_dir())
            with_record = [path for path in folders if _record(path).exists()]
            living = next((path for path in with_record if watch.lives(_record(path), path.name == token)), None)
            if living is None:
                # Beside it may lie what a late owner has written to its former name.
                old = max(with_record or folders, key=lambda folder: len(list(folder.iterdir())), default=None)
                if _take_over(base, old, token):
                    return base / token
                continue
            if living.name == token:  # a file server may report a rename as failed although it took place
                return living
            if not waited:
                logger.info("%s: waiting for its owner, %s", base, describe(_record(living)))
                waited = True
        time.sleep(POLL)


def _found(base: Path, token: str) -> bool:
    """Create `base` with this job as its owner; return whether no other job was faster."""
    new = base.with_name(f"{base.name}.new-{token}")
    try:
        (new / token).mkdir(parents=True)
        write_owner(_record(new / token))
        new.rename(base)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)  # nobody else would remove it
        if isinstance(error, OSError) and error.errno in _FASTER:
            return (base / token).is_dir()  # a file server may report a rename as failed although it took place
        raise
    return True


def _take_over(base: Path, old: Path | None, token: str) -> bool:
    """Become the owner of `old`, a folder whose owner is dead. Raises FileNotFoundError if another job was faster.

    Interrupted between its steps, it leaves `old` with or without its record: both are taken over in their turn.
    """
    if old is None:  # a base without work, left behind by an interrupted removal
        remove_at_once(base, f"{base.name}.trash")
        return False
    new = base / token
    try:
        write_owner(_record(new))
        _record(old).unlink(missing_ok=True)
        old.rename(new)
    except BaseException:
        with suppress(OSError):
            if not new.is_dir():
                _record(new).unlink(missing_ok=True)
        raise
    return True


def _beat(record: Path, stop: threading.Event) -> None:
    while not stop.wait(owners.HEARTBEAT):
        try:
            os.utime(record)
        except FileNotFoundError:
            return  # another job took over: `require_ownership` reports it at the next commit
        except OSError:
            continue  # the file system may come back
