"""Exceptions that are shown to the user as one message, and helpers that raise them."""

import difflib
from collections.abc import Iterable, Sequence

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
