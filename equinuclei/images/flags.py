"""What makes nuclei that were found doubtful: a pure judgement of measured numbers, for single images and for wells.

Thresholds were chosen on groups held out of the training parts; `python -m benchmarks.flags` prints false alarms and
misses on images that took no part in that.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from equinuclei.channels import is_brightfield

EMPTY, INVERTED, WRONG_KIND, LOW_CONTRAST, UNSURE, SIZE, SIZE_LIMIT, SATURATED = KINDS = (
    "empty", "inverted", "wrong kind of image", "low contrast", "unsure", "size", "size at the limit", "saturated",
)  # fmt: skip
"""What a flag is called in tables and on pages."""

SATURATED_SHARE = 0.01
"""Of the pixels. The most saturated image of the training part has 0.0099."""

STAINED = 0.5
"""Skewness from which an image is one of bright nuclei on a dark background. Those of fluorescence have 0.8 and more, but
for nearly empty ones, brightfield -0.45 to 0.15, inverted fluorescence -0.8 and less."""

LOWEST_CONTRAST = 3.0
"""Stained nuclei stand out by 10 times the noise of the background and more, what is found in noise by 2."""

SURE = 0.87
RAGGED = 0.9
OTHER_SIZE = 1.6


@dataclass(frozen=True)
class Findings:
    """What was measured of an image, or a well; NaN where it is unknown.

    count : nuclei
    mean_probability : mean over nuclei of their probability
    solidity : mean over nuclei of area by area of the convex hull, weighted by area
    contrast, skewness, saturated : of `equinuclei.images.quality`
    diameter : of the typical nucleus, in pixels; told : that which the user gave, None if it was estimated
    seen_diameter : that of the typical nucleus as the network saw it, magnified, in pixels
    magnification_limit : the magnification, if nuclei needed more or less than is possible; None otherwise
    """

    count: int
    mean_probability: float = math.nan
    solidity: float = math.nan
    contrast: float = math.nan
    skewness: float = math.nan
    saturated: float = math.nan
    diameter: float = math.nan
    told: float | None = None
    seen_diameter: float = math.nan
    magnification_limit: float | None = None


@dataclass(frozen=True)
class ModelKnows:
    """The images that a model learnt from: their modality (empty: unknown), and the diameter of nuclei (pixels)."""

    modality: str = ""
    diameter: float | None = None
