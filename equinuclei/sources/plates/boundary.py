"""Whether what a plate names lies where plates lie: no index and no link makes the files of others its images."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from equinuclei.errors import raise_problems, reading
from equinuclei.sources.plates.planes import NO_FILE, PlateSource


def check_inside(source: PlateSource, folder: Path) -> None:
    """Check that the images and the index of a plate lie in its folder, or elsewhere in the folder that holds it.

    A plate's folder may itself be a link to wherever the data are; so may its files be, to others of the same inbox.
    Other links, and tables that name files elsewhere, are refused: the account that runs the workflow can read more
    than the person who filled the folder.

    Parameters
    ----------
    source, folder
        A plate and where it was found: its folder, or its index.

    Raises
    ------
    InputError
        With the first files that lie elsewhere.
    UnavailableError
        If a folder cannot be listed now.
    """
    root = folder.absolute() if folder.is_dir() else folder.absolute().parent
    allowed = tuple(f"{os.path.realpath(place).rstrip('/')}/" for place in (root, root.parent))

    def leads_out(path: str) -> bool:
        return not f"{os.path.realpath(path)}/".startswith(allowed)

    @cache
    def strays(at: str) -> frozenset[str]:
        """Names in a folder that are links to outside; all names, as "/", if the folder is outside itself."""
        if leads_out(at):
            return frozenset("/")
        return frozenset(name for name, link in _entries(at) if link and leads_out(f"{at}/{name}"))

    def problems() -> Iterator[str]:
        index = source.metadata.get("index", "")
        for path in filter(None, [index, *source.planes["path"].unique()]):
            if path == NO_FILE:
                continue
            at, _, name = str(path).rpartition("/")
            outside = strays(at)
            if "/" in outside or name in outside or any(map(strays, _folders_in(path))):
                yield f"{path} is {os.path.realpath(path)}"

    raise_problems(
        f"{folder}: names files outside {allowed[1]}: copy them into the plate's folder, or make that folder a link",
        list(problems()),
    )


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Names in a folder, and whether they are links; none if the folder is not there."""
    if not os.path.isdir(folder):  # noqa: PTH112 (texts: a plate can have 100,000 files)
        return []
    with reading(folder), os.scandir(folder) as entries:
        return [(entry.name, entry.is_symlink()) for entry in entries]


def _folders_in(path: str) -> Iterator[str]:
    """The folder at a path and all folders in it: a Zarr array. None if it is a file."""
    if os.path.isdir(path):  # noqa: PTH112
        for at, _, _ in os.walk(path):
            yield at
