"""Linear interpolation of an image to another size, window by window.

About the centre and the same along both axes, in float64, so that it commutes with rotations and mirrors to rounding;
and a window has the pixels that it has in the whole.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

Read = Callable[[slice, slice], np.ndarray]
"""A function of (rows, columns), slices, that gives the pixels of an image there, (y, x)."""


def linear_weights(size: int, shown: int) -> csr_array:
    """What every pixel of an axis of `size` contributes to each of the `shown` that it is brought to: (shown, size).

    Linear interpolation between the middles of pixels, and where the axis shrinks a triangle as much wider, so that no
    pixel is passed over. Rows add up to 1. Exactly symmetric: computed from integers, but for one division.
    """
    reach = 2 * max(size, shown)
    rows = np.arange(shown)[:, np.newaxis]
    # Places in units of 1 / (2 size shown) of the axis; from the first pixel within the reach on.
    first = np.maximum(((2 * rows + 1) * size - reach - shown) // (2 * shown), 0)
    count = (2 * reach) // (2 * shown) + 2
    columns = first + np.arange(count)
    values = np.maximum(reach - np.abs((2 * columns + 1) * shown - (2 * rows + 1) * size), 0)
    values[columns >= size] = 0
    weights = values / values.sum(axis=1, keepdims=True)
    inside = weights > 0
    places = (np.broadcast_to(rows, inside.shape)[inside], columns[inside])
    return csr_array((weights[inside], places), shape=(shown, size))


class Interpolation:
    """An image of one shape (y, x), shown in another.

    Windows of any place and size are those of the whole. Memory: the window, and the pixels that it is made of.
    """

    def __init__(self, shape: tuple[int, int], shown: tuple[int, int]) -> None:
        self.shape, self.shown = shape, shown
        self._weights = [linear_weights(size, of_shown) for size, of_shown in zip(shape, shown, strict=True)]

    def window(self, read: Read, rows: slice, columns: slice) -> np.ndarray:
        """Pixels of a window of the image as it is shown, float32 (y, x); `read` reads from the image as it is."""
        (of_rows, y), (of_columns, x) = (_needed(w[s]) for w, s in zip(self._weights, (rows, columns), strict=True))
        pixels = of_rows @ read(y, x).astype(np.float64)
        return (of_columns @ pixels.T).T.astype(np.float32, order="C")


def _needed(weights: csr_array) -> tuple[csr_array, slice]:
    """Weights, and the pixels that they are of, without those before and after that contribute nothing."""
    span = slice(int(weights.indices.min()), int(weights.indices.max()) + 1)
    return weights[:, span], span
