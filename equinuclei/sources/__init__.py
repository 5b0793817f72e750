"""Annotated images on disk: one reader per layout, all of which return the same kind of table."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError, check_known
from equinuclei.sources.checks import COLUMNS, check_source
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
        `layout` and what the layout needs; `cell_line` is used for images for which the source names none.

        - ``{"layout": "table", "path": FILE}``: a TSV or CSV file with the columns image_id, modality, image, mask and
          optionally cell_line, group, split. Paths may be relative to the folder of the table.
        - ``{"layout": "folder", "path": FOLDER, "modality": NAME}``: `images/` and `masks/` (or the folder that
          `masks` names), whose files have equal stems, and optionally `split.csv` with the column name (the stem) and
          any of cell_line, group, split.

    Returns
    -------
    pandas.DataFrame
        Columns image_id, cell_line, modality, group, split, image, mask: strings, sorted by modality and image_id.
        image and mask are absolute paths; split is "" or one of train, val, test. The group defaults to the image_id,
        the cell line to "unknown".

    Raises
    ------
    InputError
        With up to five problems and their total: see `equinuclei.sources.checks.check_source`.
    """
    layout = str(source.get("layout"))
    check_known("source layout", layout, _READERS)
    if not source.get("path"):
        raise InputError(f"source: a source of layout {layout!r} needs 'path'.")
    table = _READERS[layout](source)
    table["cell_line"] = table["cell_line"].replace("", source.get("cell_line") or "unknown")
    table["group"] = table["group"].where(table["group"] != "", table["image_id"])
    check_source(table, str(source["path"]))
    return table.sort_values(["modality", "image_id"], kind="stable", ignore_index=True)


def source_folder(source: Mapping) -> Path:
    """Absolute path of the folder that a source's paths are relative to."""
    path = Path(source["path"]).absolute()
    return path if source["layout"] == "folder" else path.parent
