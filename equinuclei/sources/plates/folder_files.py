"""The files of a plate's folder."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from equinuclei.sources.images import SUFFIXES

SHOWN = 5
"""Names that metadata and messages give of many."""


def list_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with "/", sorted; nothing hidden."""
    found = []
    for at, folders, names in os.walk(folder):
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
