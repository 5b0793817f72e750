"""An image between its quarter turns, and shifted: what a network is shown, and the region that is scored.

Quarter turns say nothing of the orientations in between, nor of where a nucleus lies on the grid of a network's
pooling. So an image is moved in two further ways, and scored before and after, within one region that both show.

**Turns** by `TURNS` degrees about the middle of the image, counter-clockwise as a quarter turn is. The image is
interpolated by cubic splines (`scipy.ndimage.affine_transform`, order 3), what lies beyond its border mirrored; the
truth is turned by nearest neighbours, as labels have no values in between. Both cost something of any method: what
interpolation alone does is told by Otsu's threshold, whose threshold is that of the image as it is. The region is the
`inscribed_disc`, which every turn maps onto itself and which holds nothing that was mirrored. A turn by `QUARTER`
degrees, which interpolates nothing, is scored in the same region, from the predictions of rotated images.

**Shifts** by `SHIFTS` pixels, down and to the right at once: two crops of one size of the same image, the second one
shifted (`crop_window`). No pixel is interpolated. The region is what both crops show, and its truth is the same. At its
border one crop shows more of the image around than the other, and no network is free of that: a shift by a multiple of
what it pools over tells how much that is. Sizes of crops are multiples of `GRID`, so that no network pads them.

Images are normalised as a whole before they are moved: their mean and deviation are those of the image as it is.

Nuclei that the border of a region cuts count with what lies within, in the truth and in both predictions: predictions
are cut first, and nuclei found in what is left, so that nothing beyond the region counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import affine_transform

TURNS = (15, 30, 45)
"""Degrees; the turns in between, up to the symmetry of the square."""

QUARTER = 90
"""Degrees of the quarter turn that they are compared with."""

SHIFTS = (1, 2, 4, 8, 15, 16, 31, 32)
"""Pixels along both axes: powers of two, which poolings by 2 see differently, and their neighbours."""

GRID = 32
"""Sizes of crops are multiples of it, in pixels: what a network of five poolings needs."""

Window = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True)
class Move:
    """A turn by `amount` degrees, or a shift by `amount` pixels along both axes."""

    kind: Literal["turn", "shift"]
    amount: int

    @property
    def name(self) -> str:
        """Name in a store, for example `turned_045` or `shifted_08`."""
        return f"turned_{self.amount:03d}" if self.kind == "turn" else f"shifted_{self.amount:02d}"

    def view(self, image: np.ndarray) -> np.ndarray:
        """What a network is shown of an image (y, x): the whole of it turned, or the shifted crop."""
        if self.kind == "turn":
            return turn_image(image, self.amount)
        return image[self.window(*image.shape)]

    def window(self, height: int, width: int) -> Window:
        """Where the view lies in its image, or in the turned one."""
        if self.kind == "turn":
            return slice(0, height), slice(0, width)
        return crop_window(height, width, self.amount)


def shifts_of(height: int, width: int) -> list[int]:
    """Those of `SHIFTS` after which two crops of an image have half of their length in common, or more."""
    return [shift for shift in SHIFTS if 2 * shift <= min(_crop_size(height), _crop_size(width))]


def moves_of(height: int, width: int) -> Iterator[Move]:
    """All moves that images of a shape are predicted under; a shift by 0 is the crop that others are compared with."""
    yield from (Move("turn", degrees) for degrees in TURNS)
    shifts = shifts_of(height, width)
    yield from (Move("shift", shift) for shift in ([0, *shifts] if shifts else []))


def crop_window(height: int, width: int, shift: int) -> Window:
    """The crop that is shifted down and to the right; all crops together lie in the middle of the image."""
    return _window(height, shift), _window(width, shift)


def common_window(height: int, width: int, shift: int) -> Window:
    """What the crops shifted by 0 and by `shift` both show."""
    first, second = crop_window(height, width, 0), crop_window(height, width, shift)
    y, x = (slice(b.start, a.stop) for a, b in zip(first, second, strict=True))
    return y, x


def inscribed_disc(height: int, width: int) -> np.ndarray:
    """The pixels whose middles every turn about the middle of an image keeps within the image: bool (y, x)."""
    y, x = (2 * np.arange(size, dtype=np.int64) - (size - 1) for size in (height, width))
    disc: np.ndarray = y[:, np.newaxis] ** 2 + x**2 <= (min(height, width) - 1) ** 2
    return disc


def turn_image(image: np.ndarray, degrees: int) -> np.ndarray:
    """An image (y, x) turned counter-clockwise about its middle, in its own frame: float32, cubic splines."""
    return _turned(image.astype(np.float32), degrees, order=3)


def turn_labels(labels: np.ndarray, degrees: int) -> np.ndarray:
    """Labels or a mask (y, x), turned as `turn_image` does, by nearest neighbours; the dtype stays."""
    return _turned(labels, degrees, order=0)


def _turned(image: np.ndarray, degrees: int, order: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    # Where a pixel of the turned image, (y, x) from the middle, comes from: numpy.rot90 for a quarter turn.
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(image.shape) - 1) / 2
    turned: np.ndarray = affine_transform(image, matrix, middle - matrix @ middle, order=order, mode="mirror")
    return turned


def _crop_size(size: int) -> int:
    return max(size - max(SHIFTS), 0) // GRID * GRID


def _window(size: int, shift: int) -> slice:
    start = (size - _crop_size(size) - max(SHIFTS)) // 2 + shift
    return slice(start, start + _crop_size(size))
