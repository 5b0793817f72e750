"""What the folder of a plate holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contents:
    """What a reader says of a folder: `barcode` and `measurement` of the plate, its layout, and the image files that
    it lists (absolute paths)."""

    barcode: str
    measurement: str
    layout: str
    listed: tuple[Path, ...]
