"""The size of nuclei in pixels, and the magnification that brings them to the size a network works best with."""

import math

import numpy as np

from equinuclei.errors import InputError

LEAST, MOST = 1 / 16, 4
"""Limits of magnification. Beyond them an image has too few pixels left, or needs too many."""

LEAST_LEARNT = 1 / 4
"""The least magnification in training, where a smaller image would have too few pixels to learn from."""


def typical_diameter(labels: np.ndarray) -> float:
    """Diameter of the typical nucleus in a label image (y, x), in pixels; NaN if there is none.

    It is the diameter of a disc with the median area, weighted by area: half of all foreground pixels belong to larger
    nuclei. Numerous small specks and fragments hardly affect it. The median is found in integers, so the result is the
    same for a rotated image.
    """
    areas = np.bincount(labels.ravel())[1:]
    areas = np.sort(areas[areas > 0])
    if not areas.size:
        return math.nan
    covered = np.cumsum(areas)
    median = areas[np.searchsorted(2 * covered, covered[-1])]
    return 2 * math.sqrt(median / math.pi)


def magnification(diameter: float, wanted: float | None, least: float = LEAST) -> float:
    """The magnification that brings nuclei of a `diameter` (pixels) to the `wanted` diameter, within `least` and MOST.

    It is 1 if the diameter is NaN. Raises InputError if `wanted` is None.
    """
    if wanted is None:
        raise InputError(
            "`diameter` is set, but the model was trained on images at their own scale and has no preferred size of "
            "nuclei: leave `diameter` out, or choose a model that was trained with one"
        )
    return 1.0 if math.isnan(diameter) else min(max(wanted / diameter, least), MOST)


def magnified_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Height and width of a magnified image, at least 1."""
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))
