"""The exceptions that reach a person as one message."""

import difflib
from collections.abc import Iterable, Sequence

SHOWN_PROBLEMS = 5


class InputError(Exception):
    """A configuration, table, image, mask or checkpoint that cannot be used.

    The message says which file or key, what is wrong with it, and what to do. Jobs print it without a
    traceback and end with exit status 1.
    """


class StoppedError(Exception):
    """A job that must end without a result though nothing is wrong with its inputs; run again, it goes on.

    The message says why. Jobs print it without a traceback and end with exit status 1.
    """


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise InputError unless `name` is one of `known`; the message suggests the nearest one and lists all."""
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown {what} {name!r}.{hint} Known: {', '.join(known)}.")


def raise_problems(where: str, problems: Sequence[str]) -> None:
    """Raise one `InputError` that shows the first five problems and their total; do nothing if there is none."""
    if not problems:
        return
    lines = [f"{where}: {len(problems)} problem{'s' if len(problems) > 1 else ''}."]
    lines += [f"  - {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more.")
    raise InputError("\n".join(lines))
