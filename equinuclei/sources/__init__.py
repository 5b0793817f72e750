"""Annotated images on disk, one reader per layout; every reader returns the same table of images."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError
from equinuclei.sources.checks import COLUMNS, check_source, nearest
from equinuclei.sources.folder import read_folder
from equinuclei.sources.images import read_image, read_mask
from equinuclei.sources.table import read_table

__all__ = ["COLUMNS", "check_source", "read_image", "read_mask", "read_source", "source_folder"]

_READERS = {"table": read_table, "folder": read_folder}


def read_source(source: Mapping) -> pd.DataFrame:
    """List the images of a source.

    Parameters
    ----------
    source
        `layout` and what the layout needs; `cell_line` is used where the source itself names none.

        - ``{"layout": "table", "path": FILE}``: TSV or CSV with the columns image_id, modality, image, mask and
          optionally cell_line, group, split. Relative paths count from the folder of the table.
        - ``{"layout": "folder", "path": FOLDER, "modality": NAME}``: `images/` and `masks/` (or the folder that
          `masks` names) with files of equal stems, and optionally `split.csv` with the column name (the stem) and
          any of cell_line, group, split.

    Returns
    -------
    pandas.DataFrame
        Columns image_id, cell_line, modality, group, split, image, mask; all strings, sorted by modality and
        image_id. image and mask are absolute paths; split is "" or one of train, val, test. A missing group is the
        image_id, a missing cell line "unknown".

    Raises
    ------
    InputError
        With up to five problems and their total: see `equinuclei.sources.checks.check_source`.
    """
    layout = source.get("layout")
    if layout not in _READERS:
        guess = nearest(str(layout), _READERS)
        raise InputError(
            f"source: layout {layout!r} is not one of {', '.join(_READERS)}"
            + (f"; did you mean {guess!r}?" if guess else ".")
        )
    if not source.get("path"):
        raise InputError(f"source: a source of layout {layout!r} needs 'path'.")
    table = _READERS[layout](source)
    table["cell_line"] = table["cell_line"].replace("", source.get("cell_line") or "unknown")
    table["group"] = table["group"].where(table["group"] != "", table["image_id"])
    check_source(table, str(source["path"]))
    return table.sort_values(["modality", "image_id"], kind="stable", ignore_index=True)


def source_folder(source: Mapping) -> Path:
    """Absolute path of the folder that a source's relative paths count from."""
    path = Path(source["path"]).absolute()
    return path if source["layout"] == "folder" else path.parent
