"""What segmentation, measurement and the page ask of a converted plate: its nuclear channel and readable fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.channels import ChannelChoice
from equinuclei.errors import reading
from equinuclei.omezarr.plates import Plate, WellImage

LABEL = "nuclei"
"""Name of the label image of a segmentation."""


@dataclass(frozen=True)
class ConvertedWell:
    """A well of a converted plate.

    image : the mosaic of its fields
    nuclear_channel : index of the channel that shows nuclei
    placed : where all its fields lie: field, y0, x0, height, width (pixels)
    bad_fields : numbers of the fields whose images could not be read in every channel, by time point; all of them when
        the nuclear channel was not imaged
    """

    image: WellImage
    nuclear_channel: int
    placed: pd.DataFrame
    bad_fields: Mapping[int, set[int]]

    @property
    def name(self) -> str:
        """Such as "B02"."""
        return self.image.well

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the mosaic, pixels."""
        return self.image.height, self.image.width

    def readable(self, time: int = 0) -> pd.DataFrame:
        """The rows of `placed` whose images could be read, in every channel."""
        return self.placed[~self.placed["field"].isin(self.bad_fields.get(time, ()))]

    def nuclear_image(self, time: int = 0) -> np.ndarray:
        """Pixels (y, x) of the nuclear channel, as stored."""
        return self.image.read_channel(self.nuclear_channel, time)

    def valid_pixels(self, time: int = 0) -> np.ndarray:
        """Bool (y, x): where the mosaic shows a readable field."""
        valid = np.zeros(self.shape, bool)
        for row in self.readable(time).itertuples():
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

    def __init__(self, path: str | Path, fields: str | Path, channel: ChannelChoice | None) -> None:
        self.store = Plate(path)
        self.channel = self.store.channel_index(channel)
        statuses = read_statuses(fields)
        # A stain at the end: at other times there is nothing to find nuclei in.
        name = self.store.image(self.store.wells[0]).channels[self.channel]
        self._imaged_times = set(statuses.loc[statuses["channel"] == name, "time"])
        bad = statuses[statuses["status"] != "ok"]
        self._bad_fields: dict[str, dict[int, set[int]]] = {}
        for (well, time), of_well in bad.groupby(["well", "time"]):
            self._bad_fields.setdefault(well, {})[int(time)] = set(of_well["field"])

    def well(self, name: str) -> ConvertedWell:
        """A well. Raises InputError if the plate lacks it, its image, or the table of its fields."""
        image = self.store.image(name)
        placed, bad = self.store.field_table(name), dict(self._bad_fields.get(name, {}))
        bad |= {time: set(placed["field"]) for time in range(image.times) if time not in self._imaged_times}
        return ConvertedWell(image, self.channel, placed, bad)


def read_statuses(fields: str | Path) -> pd.DataFrame:
    """well, field, channel, time, status and acquired, from the `fields.parquet` of a conversion."""
    with reading(fields, "remove it, and run again"):
        table = pd.read_parquet(fields)
    # Plates that were converted before there was a time axis have no such column.
    table = table if "time" in table else table.assign(time=0)
    return table[["well", "field", "channel", "time", "status", "acquired"]]
