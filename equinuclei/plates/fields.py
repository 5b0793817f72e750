"""What segmentation, measurement and the page ask of a converted plate: its nuclear channel and readable fields."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.omezarr.plates import Plate, WellImage

LABEL = "nuclei"
"""Name of the label image of a segmentation."""


@dataclass(frozen=True)
class ConvertedWell:
    """A well of a converted plate.

    image : the mosaic of its fields
    nuclear_channel : index of the channel that shows nuclei
    placed : where all its fields lie: field, y0, x0, height, width (pixels)
    readable : the rows of `placed` whose images could be read, in every channel
    """

    image: WellImage
    nuclear_channel: int
    placed: pd.DataFrame
    readable: pd.DataFrame

    @property
    def name(self) -> str:
        """Such as "B02"."""
        return self.image.well

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the mosaic, pixels."""
        return self.image.height, self.image.width

    def nuclear_image(self) -> np.ndarray:
        """Pixels (y, x) of the nuclear channel, as stored."""
        return self.image.read_channel(self.nuclear_channel)

    def valid_pixels(self) -> np.ndarray:
        """Bool (y, x): where the mosaic shows a readable field."""
        valid = np.zeros(self.shape, bool)
        for row in self.readable.itertuples():
            valid[row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width] = True
        return valid

    def extent(self) -> tuple[slice, slice]:
        """The rows and columns that the fields reach, readable or not.

        The mosaics of all wells are as large as the largest of them; the others end in empty rows or columns.
        """
        ends = self.placed[["y0", "x0"]].to_numpy() + self.placed[["height", "width"]].to_numpy()
        bottom, right = ends.max(axis=0)
        return slice(int(bottom)), slice(int(right))


class ConvertedPlate:
    """A plate that `equinuclei.plates.convert.convert_plate` has made.

    Parameters
    ----------
    path, fields
        Its `plate.ome.zarr` and `fields.parquet`.
    channel
        The channel that shows nuclei: see `Plate.channel_index`.

    Raises
    ------
    InputError
        If there is no such plate or channel.
    """

    def __init__(self, path: str | Path, fields: str | Path, channel: str | float | None) -> None:
        self.store = Plate(path)
        self.channel = self.store.channel_index(channel)
        statuses = pd.read_parquet(fields, columns=["well", "field", "status"])
        bad = statuses[statuses["status"] != "ok"]
        self._bad_fields = {well: set(of_well["field"]) for well, of_well in bad.groupby("well")}

    def well(self, name: str) -> ConvertedWell:
        """A well. Raises InputError if the plate lacks it, its image, or the table of its fields."""
        image = self.store.image(name)
        placed = image.field_table()
        readable = placed[~placed["field"].isin(self._bad_fields.get(name, ()))]
        return ConvertedWell(image, self.channel, placed, readable)
