"""Layout "harmony": PerkinElmer / Revvity Harmony exports (Opera Phenix, Operetta), XML of versions V5, V6 and V7."""

from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.sources.plates.evaluation_index import is_index, plate_facts, read_index, read_planes
from equinuclei.sources.plates.listing import find_named, names_in
from equinuclei.sources.plates.planes import PlateSource, child_text

INDEX_NAMES = ("Index.idx.xml", "Index.xml", "Index.ref.xml")
LOOKED_FOR = "Index.idx.xml, Index.xml or Index.ref.xml, here, in Images/ or another folder in it, or one folder above"


def find_harmony(path: Path) -> Path | None:
    """The index of a Harmony export at or beside `path`, or None. The case of names does not matter."""
    if path.is_file():
        return path if path.name.casefold() in {name.casefold() for name in INDEX_NAMES} else None
    # The folder above is searched only for the export's own folder of images.
    above = [path.parent] if path.name.casefold() == "images" else []
    for folder in (path, *_images_in(path), *above):
        found = find_named(folder, INDEX_NAMES)
        if found is not None:
            return found
    return next(iter(_indexes_below(path)), None)


def read_harmony(path: Path) -> PlateSource:
    """Read a Harmony export (see `equinuclei.sources.plates.find_plate_source`).

    Images lie where the index says, or in folders below it. Those without URL were not recorded; a `BufferNo` is the
    page of the image in its file. Planes imaged several times within a time point (`SequenceID`) become time points of
    their own, in the order in which they were taken; `times` in the metadata names them.

    Raises
    ------
    InputError
        If there is no index, or there are several; if it is not one of Harmony, damaged or incomplete; if it lists
        fluorescence lifetimes, or images that cannot be kept apart (the message names what distinguishes them).
    """
    index_path = find_harmony(path)
    if index_path is None:
        raise InputError(f"{path}: no Harmony export: looked for {LOOKED_FOR}")
    below = _indexes_below(path) if path.is_dir() else []
    if index_path in below and len(below) > 1:
        raise InputError(
            f"{path}: holds {len(below)} measurements, {below[0].parent} and {below[1].parent}: give the folder of one"
        )
    index = read_index(index_path)
    planes, metadata = read_planes([index], INDEX_NAMES)
    facts = plate_facts(index)
    name = facts["barcode"] or child_text(index.plate, "Name") or index_path.parent.parent.name
    return PlateSource(name, "harmony", planes, {**facts, **metadata})


def _images_in(folder: Path) -> list[Path]:
    return [child for child in names_in(folder)[1] if child.name.casefold() == "images"]


def _indexes_below(path: Path) -> list[Path]:
    """The indexes in the folders of a folder and in their `Images/`: an export that was put into a folder."""
    found = []
    for folder in names_in(path)[1]:
        for at in (folder, *_images_in(folder)):
            index = find_named(at, INDEX_NAMES)
            if index is not None and is_index(index):
                found.append(index)
                break
    return found
