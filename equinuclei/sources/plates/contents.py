"""What the folder of a plate contains."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from equinuclei.sources.plates.planes import NO_FILE, PlateSource
from equinuclei.wells import STANDARD_SHAPES, parse_well


@dataclass(frozen=True)
class Contents:
    """What the inbox asks of a plate.

    barcode, measurement : they identify it
    layout : of its vendor
    listed : the image files that it lists, absolute paths; some may be absent
    not_recorded : planes that its index lists without a file, as the instrument recorded no image
    planned : planes that only a plan of the acquisition names, without a record or a file
    channels : their emission wavelengths in nm by name, NaN where unknown
    acquisitions : numbers of their acquisitions (cycles) by name
    times : number of time points; depth : largest number of planes of one field, channel and time
    wells : such as "B02"
    shape : rows and columns of the plate, where the instrument declares them; None: unknown
    """

    barcode: str
    measurement: str
    layout: str
    listed: tuple[Path, ...]
    not_recorded: int = 0
    planned: int = 0
    channels: Mapping[str, float] = field(default_factory=dict)
    acquisitions: Mapping[str, int] = field(default_factory=dict)
    times: int = 1
    depth: int = 1
    wells: frozenset[str] = frozenset()
    shape: tuple[int, int] | None = None

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
            acquisitions=planes.groupby("channel")["acquisition"].first().to_dict(),
            times=planes["t"].nunique(),
            depth=int(planes.groupby(["well", "field", "channel", "t"]).size().max()),
            wells=frozenset(planes["well"]),
            shape=declared_shape(source.layout, source.metadata, planes["well"].unique()),
        )


def declared_shape(layout: str, metadata: Mapping, wells: Iterable[str]) -> tuple[int, int] | None:
    """Rows and columns of a plate by the metadata of its instrument; None where these cannot be right."""
    try:
        shape = int(metadata.get("rows") or 0), int(metadata.get("columns") or 0)
    except (TypeError, ValueError):
        return None
    # OME-Zarr lists the rows and columns that were imaged, which need not be all.
    if layout == "ome-zarr" and shape not in STANDARD_SHAPES:
        return None
    positions = [parse_well(well) for well in wells]
    return shape if all(row <= shape[0] and column <= shape[1] for row, column in positions) and all(shape) else None
