"""Exceptions that are shown to the user as one message, and helpers that raise them."""

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SHOWN_PROBLEMS = 5


class InputError(Exception):
    """A configuration, table, image, mask or checkpoint that cannot be used.

    The message names the file or key, what is wrong with it, and what to do. Jobs print it without a traceback and
    exit with status 1.
    """


class StoppedError(Exception):
    """A job has to stop before it has a result, although its inputs are fine. Run again, it continues.

    The message says why. Jobs print it without a traceback and exit with status 1.
    """


class UnavailableError(StoppedError):
    """Something that a job needs cannot be read now: a folder is not mounted, a file server does not answer, memory is
    short. This proves nothing about its content, so it is never recorded as damaged: run again, the job continues.
    """


_OF_THE_CONTENT = (errno.EINVAL, errno.EOVERFLOW, errno.ENAMETOOLONG, errno.ELOOP)
"""What a file system answers to what a damaged file says: read before its beginning or too far, open a name that no
file can have, or links that lead back to themselves."""


@contextmanager
def reading(path: str | Path, remedy: str = "was it copied whole?") -> Iterator[None]:
    """Say of a foreign file that is read in the block what is wrong with it, whatever a parser raises.

    A parser raises all sorts of errors on a damaged file; these become an InputError. What the file system or the
    machine raises (the file is gone, EIO, ESTALE, no memory) becomes an UnavailableError: the file may be sound.
    InputErrors and StoppedErrors pass.
    """
    try:
        yield
    except (InputError, StoppedError):
        raise
    except MemoryError as error:
        raise UnavailableError(f"{path}: reading it takes more memory than there is: give the job more") from error
    except Exception as error:
        if is_of_the_system(error):
            raise UnavailableError(f"{path}: cannot be read now ({error}): run again when it can") from error
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error}): {remedy}") from error


def is_of_the_system(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, came from the file system or the machine and not from a file's content.

    Parsers raise OSErrors of their own too, for damaged files; these have no error number.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_CONTENT:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise InputError unless `name` is in `known`. The message suggests the closest match and lists all of them.

    what : the kind of thing that is named, such as "group".
    """
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown {what} {name!r}.{hint} Known: {', '.join(known)}.")


def raise_problems(where: str, problems: Sequence[str]) -> None:
    """Raise one InputError with the total number of problems and the first five; do nothing if there are none.

    where : the file or folder the problems are in; the message begins with it.
    """
    if not problems:
        return
    lines = [f"{where}: {len(problems)} problem{'s' if len(problems) > 1 else ''}."]
    lines += [f"  - {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more.")
    raise InputError("\n".join(lines))
