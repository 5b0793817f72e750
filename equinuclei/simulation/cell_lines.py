"""What the cells of seven lines look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class CellLine:
    """What cells of one line look like. Lengths are pixels at scale 1; brightness is relative to the other lines."""

    radius: float
    """Mean radius of a nucleus (of a circle with the same area), in pixels."""
    radius_sd: float
    """Standard deviation of the radius, in pixels."""
    elongation: float
    """Mean ratio of the long to the short axis of a nucleus."""
    irregularity: float
    """Relative amplitude of the bumps of a nucleus's outline."""
    density: float
    """Nuclei per 256 x 256 pixels."""
    clumping: float
    """Probability that a nucleus lies against an earlier one, 0 to 1."""
    texture: float
    """Relative amplitude of the chromatin's texture."""
    chromocenters: float
    """Mean number of bright heterochromatin spots per nucleus (prominent in mouse cells)."""
    nucleoli: float
    """Mean number of nucleoli per nucleus: dark in fluorescence, a bump in brightfield."""
    brightness: float
    """Relative brightness of the DNA stain."""
    brightness_sd: float
    """Standard deviation of the logarithm of a nucleus's brightness."""
    cell_size: float
    """Radius of the cell in radii of its nucleus."""
    cell_elongation: float
    """Mean ratio of the long to the short axis of the cell."""
    granularity: float
    """Relative strength of granules and vacuoles in the cytoplasm."""


CELL_LINES: Mapping[str, CellLine] = MappingProxyType(
    {
        # mouse fibroblasts: spread thin, bright chromocenters
        "NIH3T3": CellLine(10.5, 1.2, 1.28, 0.035, 17, 0.12, 0.14, 9, 1.5, 1.0, 0.25, 3.0, 2.1, 0.8),
        # dog kidney epithelium: a dense sheet of small round nuclei
        "MDCK": CellLine(8.4, 0.8, 1.14, 0.025, 38, 0.55, 0.12, 0, 1.5, 0.9, 0.22, 2.0, 1.2, 0.6),
        "HeLa": CellLine(12.2, 1.5, 1.25, 0.060, 19, 0.30, 0.17, 0, 2.5, 1.0, 0.35, 2.4, 1.4, 1.0),
        # islands of unequal nuclei
        "MCF7": CellLine(11.0, 1.7, 1.20, 0.050, 25, 0.65, 0.24, 1, 2.0, 1.2, 0.40, 2.1, 1.25, 1.1),
        "A549": CellLine(13.4, 1.4, 1.38, 0.035, 14, 0.15, 0.13, 0, 3.0, 0.9, 0.25, 2.7, 1.7, 1.2),
        # liver: heaped clumps, granular cytoplasm
        "HepG2": CellLine(9.8, 1.1, 1.10, 0.030, 29, 0.85, 0.22, 1, 2.0, 1.1, 0.30, 2.0, 1.15, 1.5),
        # fibrosarcoma: large, long, misshapen, few
        "HT1080": CellLine(14.6, 2.5, 1.55, 0.085, 11, 0.12, 0.19, 0, 2.5, 0.85, 0.42, 2.6, 2.3, 0.9),
    }
)
