"""Values of command-line options that are checked as they are parsed."""

import argparse
import os
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """A parser of integers of at least `least`."""

    def integer(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return integer


def positive(text: str) -> float:
    """A number above 0."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def diameter(text: str) -> float | str | None:
    """A diameter in pixels; "estimated" stays, "none" becomes None."""
    return {"estimated": text, "none": None}[text] if text in ("estimated", "none") else positive(text)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
