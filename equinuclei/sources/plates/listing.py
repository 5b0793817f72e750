"""Finding the files of an export, whatever their case: Windows does not tell `Index.xml` from `INDEX.XML`."""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from equinuclei.errors import InputError, reading
from equinuclei.sources.plates.planes import listed_path

_DEPTH = 2  # folders below an index that may hold its images: <well>/ or Images/<well>/


def names_in(folder: Path) -> tuple[list[str], list[Path]]:
    """Names of the files and paths of the folders in a folder, sorted, without hidden ones; empty if it is none.

    Raises UnavailableError if the folder is there and cannot be listed now.
    """
    files: list[str] = []
    folders: list[str] = []
    if not folder.is_dir():
        return [], []
    with reading(folder), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(files), [folder / name for name in sorted(folders)]


def find_named(folder: Path, names: Iterable[str]) -> Path | None:
    """The file in a folder that has the first of `names` that is there, whatever its case; None if none is."""
    there: dict[str, str] = {}
    for name in names_in(folder)[0]:
        there.setdefault(name.casefold(), name)
    for name in names:
        if (folder / name).is_file():  # of several spellings, the documented one
            return folder / name
        if name.casefold() in there:
            return folder / there[name.casefold()]
    return None


def locate_listed(index: Path, listed: Collection[str], index_names: Iterable[str]) -> dict[str, str]:
    """Absolute paths of the files that an index lists, by the name that it gives them.

    They lie where the name says, seen from the index, or in a folder up to two levels below it; their case may differ.
    Folders with an index of their own (any of `index_names`) are not searched. A file that is not there gets the place
    where it would be expected: beside those that are there.

    Raises
    ------
    InputError
        If a name leads out of the folder (see `listed_path`), or fits files in several folders.
    """
    # Texts, not paths: an index can list 100,000 files.
    by_path: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    for at in map(str, _folders_of_images(index.parent, list(index_names))):
        for name in names_in(Path(at))[0]:
            path = f"{at}/{name}"
            by_path.setdefault(path.casefold(), path)
            by_name.setdefault(name.casefold(), []).append(path)
    found: dict[str, str] = {}
    absent: list[str] = []
    for name in listed:
        said = listed_path(index.parent, name, index)
        places = by_name.get(said.rpartition("/")[2].casefold(), [])
        here = by_path.get(said.casefold())
        if here is None and len(places) > 1:
            raise InputError(
                f"{index}: lists {name!r}, which is both {places[0]} and {places[1]}: give each measurement a folder "
                "of its own, with its index"
            )
        if here is None and not places:
            absent.append(name)
        else:
            found[name] = here or places[0]
    folders = Counter(path.rpartition("/")[0] for path in found.values())
    expected = Path(folders.most_common(1)[0][0]) if folders else _expected_folder(index)
    for name in absent:
        # A name with folders says where its file will come.
        plain = "/" not in name and "\\" not in name
        found[name] = listed_path(expected if plain else index.parent, name, index)
    return found


def _folders_of_images(folder: Path, index_names: list[str]) -> list[Path]:
    """The folder, and those below it that have no index of their own."""
    found, level = [folder], [folder]
    for _ in range(_DEPTH):
        level = [child for at in level for child in names_in(at)[1] if find_named(child, index_names) is None]
        found += level
    return found


def _expected_folder(index: Path) -> Path:
    """Where the images of an index will come, of which none is there: `Images/` beside it, or its own folder."""
    images = [folder for folder in names_in(index.parent)[1] if folder.name.casefold() == "images"]
    return images[0] if images else index.parent
