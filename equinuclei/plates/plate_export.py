"""The images of a plate that are to be converted, and what must hold of their folder meanwhile."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from equinuclei.errors import UnavailableError
from equinuclei.plates.raw_folder import require_as_scanned
from equinuclei.sources.plates import PlateSource, choose_planes, find_plate_source


@dataclass(frozen=True)
class PlateExport:
    """The images of a plate that are to be converted.

    path : folder of the plate as the instrument left it, its index file, or a table of planes
    layout : see `equinuclei.sources.plates.find_plate_source`; None: the first that fits
    channels : names or emission wavelengths in nm; None: all
    z : a plane from 0, "max" or "mean"; None: see `equinuclei.sources.plates.choose_planes`
    t : a time point, "first", "last" or "all"; None: the first
    acquisition : number of an acquisition; None: all
    content : digest of the raw folder by the scan (`equinuclei.plates.raw_folder`), which must hold to the end; or None
    absent : the images that were not there at the scan, seen from the folder; None: those that are not there now
    """

    path: str | Path
    layout: str | Mapping | None = None
    channels: Sequence[str | float] | None = None
    z: int | str | None = None
    t: int | str | None = None
    acquisition: int | None = None
    content: str | None = None
    absent: Collection[str] | None = None

    @property
    def folder(self) -> Path:
        """The raw folder."""
        path = Path(self.path).absolute()
        return path.parent if path.is_file() else path

    def read(self) -> PlateSource:
        """What lies in it. Raises as `find_plate_source` and `require_as_scanned` do."""
        self.require_as_scanned()
        return find_plate_source(self.path, self.layout)

    def choose(self, source: PlateSource) -> pd.DataFrame:
        """The planes of a source to convert, with the column time (see `MosaicPlan.of`)."""
        planes = choose_planes(source, self.channels, self.z, self.t, self.acquisition)
        return planes.assign(time=pd.factorize(planes["t"], sort=True)[0] if self.t == "all" else 0)

    def require_as_scanned(self) -> None:
        """Raise StoppedError if the raw folder is not what the scan found, UnavailableError if that cannot be told."""
        if self.content is not None:
            require_as_scanned(self.folder, self.content)

    def require_present(self, where: str, absent: Collection[str]) -> None:
        """Raise UnavailableError if a file is absent that was there at the scan. absent : paths"""
        if self.absent is None:
            return
        known = {str(self.folder / name) for name in self.absent}
        if gone := sorted(path for path in absent if path not in known):
            raise UnavailableError(
                f"{where}: {len(gone)} images that were there at the scan are not there now, such as {gone[0]}: the "
                "next tick tries again"
            )

    def asked(self) -> list[str]:
        """The settings by which a person chose what to convert."""
        names = ("channels", "z", "t", "acquisition")
        return [name for name in names if getattr(self, name) is not None]
