"""The size of nuclei in pixels, and how far an image is magnified to bring them to the one a network works best at."""

import math

import numpy as np

from equinuclei.errors import InputError

LEAST, MOST = 1 / 4, 4
"""The magnifications that are ever applied. Beyond, an image has too few pixels to learn from, or needs too many."""


def typical_diameter(labels: np.ndarray) -> float:
    """Diameter of the typical nucleus of a label image (y, x), in pixels; NaN where there is none.

    That of a disc with the median area, each nucleus counted as often as it has pixels: half of all pixels of nuclei
    belong to larger ones. Specks and fragments, many and small, hardly move it. From integers alone, so the same for a
    turned image.
    """
    areas = np.bincount(labels.ravel())[1:]
    areas = np.sort(areas[areas > 0])
    if not areas.size:
        return math.nan
    covered = np.cumsum(areas)
    median = areas[np.searchsorted(2 * covered, covered[-1])]
    return 2 * math.sqrt(median / math.pi)


def magnification(diameter: float, wanted: float | None) -> float:
    """How far an image with nuclei of a diameter is magnified to have them `wanted` pixels across.

    Within LEAST and MOST; 1 where the diameter is NaN. Raises InputError where `wanted` is None.
    """
    if wanted is None:
        raise InputError(
            "a diameter of nuclei is given, and the model learnt from images as they came, with no size of its own: "
            "leave `diameter` out, or choose a model that was trained with one"
        )
    return 1.0 if math.isnan(diameter) else min(max(wanted / diameter, LEAST), MOST)


def magnified_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Height and width of an image that is magnified, at least 1."""
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))
