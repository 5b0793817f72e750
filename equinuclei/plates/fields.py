"""What segmentation and measurement ask of a converted plate: its nuclear channel, and where its fields have pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.channels import find_channel
from equinuclei.errors import InputError
from equinuclei.omezarr.plates import read_field_table, read_wavelengths

LABEL = "nuclei"
"""Name of the label image of a segmentation."""


def channel_number(plate: str | Path, wells: Sequence[str], channel: str | float | None) -> int:
    """Index of a channel by its name or emission wavelength (see `equinuclei.channels`); None: of the only one.

    Raises InputError without one.
    """
    wavelengths = read_wavelengths(plate, wells[0])
    names = list(wavelengths)
    if channel is None:
        if len(names) > 1:
            raise InputError(
                f"{plate} has the channels {', '.join(names)}: set `plates: {{channel: ...}}` to one of them"
            )
        return 0
    return names.index(find_channel(str(plate), wavelengths, channel))


def fields_with_image(fields: str | Path, plate: str | Path, well: str) -> pd.DataFrame:
    """Where the readable fields of a well lie: field, y0, x0, height, width (pixels)."""
    status = pd.read_parquet(fields, columns=["well", "field", "status"])
    bad = set(status.loc[(status["well"] == well) & (status["status"] != "ok"), "field"])
    table = read_field_table(plate, well)
    return table[~table["field"].isin(bad)]


def valid_pixels(shape: tuple[int, int], fields: pd.DataFrame) -> np.ndarray:
    """Bool (y, x): where the mosaic of `shape` shows a field."""
    valid = np.zeros(shape, bool)
    for row in fields.itertuples():
        valid[row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width] = True
    return valid
