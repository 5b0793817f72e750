"""What the folder of a plate contains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from equinuclei.sources.plates.planes import NO_FILE, PlateSource


@dataclass(frozen=True)
class Contents:
    """What the inbox asks of a plate.

    barcode, measurement : they identify it
    layout : of its vendor
    listed : the image files that it lists, absolute paths; some may be absent
    not_recorded : planes that its index lists without a file, as the instrument recorded no image
    planned : planes that only a plan of the acquisition names, without a record or a file
    channels : their emission wavelengths in nm by name, NaN where unknown
    wells : such as "B02"
    """

    barcode: str
    measurement: str
    layout: str
    listed: tuple[Path, ...]
    not_recorded: int = 0
    planned: int = 0
    channels: Mapping[str, float] = field(default_factory=dict)
    wells: frozenset[str] = frozenset()

    @classmethod
    def of(cls, source: PlateSource) -> "Contents":
        """Of a plate that a reader has read."""
        planes = source.planes
        listed = planes["path"] != NO_FILE
        return cls(
            barcode=str(source.metadata.get("barcode") or source.name),
            measurement=str(source.metadata.get("measurement") or ""),
            layout=source.layout,
            listed=tuple(Path(path) for path in planes.loc[listed, "path"].unique()),
            not_recorded=int((~listed).sum()),
            planned=len(source.planned),
            channels=planes.groupby("channel")["wavelength"].agg(lambda known: known.iloc[0]).to_dict(),
            wells=frozenset(planes["well"]),
        )
