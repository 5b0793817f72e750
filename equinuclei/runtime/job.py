"""What surrounds the work of one rule: its log, its error messages, and signals to the job."""

import errno
import io
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
from equinuclei.runtime.printable import PrintableFormatter

logger = logging.getLogger("equinuclei")

_STORAGE = {
    errno.ENOSPC: "no space is left on the disk: free some",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: set `results` to a folder that can be written",
    errno.EACCES: "no permission: ask for it, or set `results` to a folder that can be written",
    errno.EPERM: "no permission: ask for it, or set `results` to a folder that can be written",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine: wait",
}
_AWAY = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOLINK,
        errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECOMM, errno.ESHUTDOWN,
    }
)  # fmt: skip
"""What a file system answers that is not there now: a server that is down, a mount that is gone, a failing disk."""


class _LogFile(logging.FileHandler):
    """A log file that may lie on the very disk that is full: records that cannot be written are dropped silently."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (a method of logging.Handler)
        pass


@contextmanager
def job(log: str | Path) -> Iterator[None]:
    """Write log records and warnings of the block to the file `log`, and the library's own records to the terminal.

    What is no defect of the program ends the job with one message and exit status 1, without a traceback (see
    `message_of`); so does SIGTERM. Any other exception is logged with its traceback and raised again.
    """
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.addFilter(logging.Filter("equinuclei"))
    to_terminal.setFormatter(PrintableFormatter("%(message)s"))
    handlers: list[logging.Handler] = [to_terminal]
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(to_terminal)
    before = signal.signal(signal.SIGTERM, _stop)  # an exception, so that the job releases what it owns
    try:
        handlers.append(_log_file(Path(os.devnull if is_follower() else log)))  # a follower's log is its leader's
        root.addHandler(handlers[-1])
        with warnings.catch_warnings():
            logging.captureWarnings(True)
            warnings.simplefilter("default")
            yield
    except Exception as error:
        message = message_of(error)
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


def _log_file(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = _LogFile(path, mode="w", encoding="utf-8")
    to_file.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    return to_file


def message_of(error: Exception) -> str | None:
    """What to tell a person of an error that is no defect of the program; None of any other.

    An InputError or StoppedError speaks for itself. A full disk, a file system that does not answer, and too little
    memory are told with the file, wherever in a library they came up.
    """
    if isinstance(error, InputError | StoppedError):
        return str(error)
    cause: BaseException | None = error
    while cause is not None:
        message = _trouble(cause)
        if message is not None:
            return f"{message}, and run again; finished work is kept"
        cause = cause.__cause__ or cause.__context__
    return None


def _trouble(error: BaseException) -> str | None:
    """What is wrong with the machine, if that is what an error tells, and what to do."""
    no_memory = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)  # torch's words
    if no_memory or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "this takes more memory than there is: give the job more (`mem_mb`)"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not loaded in every job
        return "the GPU has too little free memory: give the job one of its own, or a larger one"
    if not isinstance(error, OSError):
        return None
    if error.errno in _STORAGE:
        return f"{_file_of(error) or 'the results folder'}: {_STORAGE[error.errno]}"
    where = _file_of(error)
    if error.errno in _AWAY and where is not None:
        return f"{where}: the file system does not answer as it should ({error.strerror}): see to it"
    return None


def _file_of(error: OSError) -> str | None:
    """The file that an error is about. Reading an open file raises one without a name: then, the file that was open."""
    if error.filename is not None:
        return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    for frame in reversed(frames):
        for name, value in frame.f_locals.items():
            if isinstance(value, io.IOBase) and isinstance(getattr(value, "name", None), str):
                return str(getattr(value, "name", ""))
            if name == "path" and isinstance(value, str | Path):
                return str(value)
    return None


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
