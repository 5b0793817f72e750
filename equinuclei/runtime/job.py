"""What surrounds the work of one rule: its log, its error messages, and signals to the job."""

import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from equinuclei.errors import InputError, StoppedError

logger = logging.getLogger("equinuclei")

_STORAGE = {
    errno.ENOSPC: "no space is left on the disk: free some",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: set `results` to a folder that can be written",
    errno.EACCES: "no permission to write: set `results` to a folder that can be written",
}


class _LogFile(logging.FileHandler):
    """A log file that may lie on the very disk that is full: records that cannot be written are dropped silently."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (a method of logging.Handler)
        pass


@contextmanager
def job(log: str | Path) -> Iterator[None]:
    """Write log records and warnings of the block to the file `log`, and the library's own records to the terminal.

    What the user can fix (an InputError, a full disk, a folder without write permission) ends the job with one message
    and exit status 1, without a traceback. So does a StoppedError, which SIGTERM raises. Any other exception is logged
    with its traceback and raised again.
    """
    log = Path(os.devnull if is_follower() else log)  # a follower's log is its leader's
    log.parent.mkdir(parents=True, exist_ok=True)
    to_file = _LogFile(log, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.addFilter(logging.Filter("equinuclei"))
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    handlers = (to_file, to_terminal)
    for handler in handlers:
        root.addHandler(handler)
    before = signal.signal(signal.SIGTERM, _stop)  # an exception, so that the job releases what it owns
    try:
        with warnings.catch_warnings():
            logging.captureWarnings(True)
            warnings.simplefilter("default")
            yield
    except Exception as error:
        message = str(error) if isinstance(error, InputError | StoppedError) else _storage_problem(error)
        if message is None:
            logging.getLogger("traceback").exception("the job failed")
            raise
        logger.error("Error: %s", message)
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.captureWarnings(False)
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):
                handler.close()


def is_follower() -> bool:
    """Whether another process of the same job started this one, to train a model on a further device."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


def pass_on(number: int, _frame: object) -> None:
    """Forward a signal to the processes in this process group that have a handler for it."""
    for status in Path("/proc").glob("[0-9]*/status"):
        process = int(status.parent.name)
        with suppress(OSError):  # the process has ended
            lines = status.read_text().splitlines()
            caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
            if caught >> (number - 1) & 1 and process != os.getpid() and os.getpgid(process) == os.getpgid(0):
                os.kill(process, number)


def stop_for_a_test(reached: str) -> None:
    """Stop this process (SIGSTOP) at a point of its work that EQUINUCLEI_STOP_AT names: `epoch 2,epoch 4`, or `*`.

    For tests that disturb a job in its course: they wait for a process that is stopped, and need not hit the right
    second. Called once the point is saved, so that a job which resumes there does not pass it again.
    """
    if any(fnmatch(reached, point) for point in os.environ.get("EQUINUCLEI_STOP_AT", "").split(",")):
        os.kill(os.getpid(), signal.SIGSTOP)


def _stop(_number: int, _frame: object) -> None:
    raise StoppedError(
        "the job received SIGTERM (it was cancelled, preempted or ran out of time); finished work is kept"
    )


def _storage_problem(error: BaseException | None) -> str | None:
    """A message about the disk, if this error or one that caused it is about the disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _STORAGE:
            where = error.filename or "the results folder"
            return f"{where}: {_STORAGE[error.errno]}, and run again; finished work is kept"
        error = error.__cause__ or error.__context__
    return None
