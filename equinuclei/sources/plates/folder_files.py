"""The files of a plate's folder."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from equinuclei.errors import reading
from equinuclei.sources.images import SUFFIXES

SHOWN = 5
"""Names that metadata and messages give of many."""


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that raises UnavailableError where a folder cannot be listed now, instead of leaving it out."""

    def fail(error: OSError) -> None:
        raise error

    with reading(folder):
        yield from os.walk(folder, onerror=fail)


def list_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with "/", sorted; nothing hidden.

    Raises UnavailableError if a folder cannot be listed now: its images are not absent.
    """
    found = []
    for at, folders, names in walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(at, name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def images_among(files: Iterable[str], more: tuple[str, ...] = ()) -> list[str]:
    """Those of the files that end as images do, or as `more` (lower case)."""
    return [name for name in files if name.lower().endswith(SUFFIXES + more)]


def image_files(folder: Path) -> list[str]:
    """Paths of all images below a folder, as `list_files` gives them."""
    return images_among(list_files(folder))


def shown(names: Sequence[str]) -> str:
    """The first names in quotes, and how many more there are."""
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
