"""Linear interpolation of an image to another size, window by window.

It is centred, the same along both axes, and computed in float64, so it commutes with rotations and mirrors up to
rounding. A window has exactly the pixels that it has in the whole result.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

Read = Callable[[slice, slice], np.ndarray]
"""A function of two slices, (rows, columns), that returns the pixels (y, x) of an image there."""


def linear_weights(size: int, new_size: int) -> csr_array:
    """Weights of linear interpolation along an axis, (new_size, size): what each pixel contributes to each new pixel.

    Interpolation is between the centres of pixels. Where the axis shrinks, the triangular kernel widens accordingly, so
    that no pixel is skipped. Rows sum to 1. Exactly symmetric: except for one division, all is computed in integers.
    """
    reach = 2 * max(size, new_size)
    rows = np.arange(new_size)[:, np.newaxis]
    # Positions in units of 1 / (2 size new_size) of the axis, from the first pixel within reach on.
    first = np.maximum(((2 * rows + 1) * size - reach - new_size) // (2 * new_size), 0)
    count = (2 * reach) // (2 * new_size) + 2
    columns = first + np.arange(count)
    values = np.maximum(reach - np.abs((2 * columns + 1) * new_size - (2 * rows + 1) * size), 0)
    values[columns >= size] = 0
    weights = values / values.sum(axis=1, keepdims=True)
    inside = weights > 0
    places = (np.broadcast_to(rows, inside.shape)[inside], columns[inside])
    return csr_array((weights[inside], places), shape=(new_size, size))


class Interpolation:
    """Interpolation of an image of one shape (y, x) to another, window by window.

    Memory: a window, and the pixels of the image that contribute to it.
    """

    def __init__(self, shape: tuple[int, int], new_shape: tuple[int, int]) -> None:
        self.shape, self.new_shape = shape, new_shape
        self._weights = [linear_weights(size, new_size) for size, new_size in zip(shape, new_shape, strict=True)]

    def window(self, read: Read, rows: slice, columns: slice) -> np.ndarray:
        """Pixels of a window of the interpolated image, float32 (y, x); `read` reads from the original image."""
        (of_rows, y), (of_columns, x) = (_needed(w[s]) for w, s in zip(self._weights, (rows, columns), strict=True))
        pixels = of_rows @ read(y, x).astype(np.float64)
        return (of_columns @ pixels.T).T.astype(np.float32, order="C")


def _needed(weights: csr_array) -> tuple[csr_array, slice]:
    """Weights of the contributing pixels, and the slice of these pixels."""
    span = slice(int(weights.indices.min()), int(weights.indices.max()) + 1)
    return weights[:, span], span
