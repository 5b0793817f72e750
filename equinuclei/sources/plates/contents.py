"""What the folder of a plate contains."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contents:
    """The `barcode` and `measurement` of a plate, its layout, and the image files that it lists (absolute paths)."""

    barcode: str
    measurement: str
    layout: str
    listed: tuple[Path, ...]
