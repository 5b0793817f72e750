"""Normalisation of grey values before a network sees an image.

A floating-point sum depends on the order of the pixels, so the mean of a rotated image would differ in its last bits,
and with it every normalised pixel. The sums here are exact and percentiles do not depend on the order, so normalisation
commutes with every rotation and mirror, bit for bit.
"""

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

ROWS = 512
"""Number of image rows that are read at a time."""

PERCENTILES = (1, 99.8)
"""Percentiles of the grey values that count as darkest and brightest, as in StarDist (Schmidt et al. 2018)."""

PERCENTILE_RANGE = 4
"""Range between these percentiles after normalisation, which makes the standard deviation about 1."""


def normalization_statistics(image: Any, valid: Any = None, method: str = "standard") -> tuple[float, float]:
    """Offset and scale for `apply_statistics`.

    method : "standard", zero mean and unit variance (`intensity_statistics`); or "percentile", which maps the 1st
    percentile to 0 and the 99.8th to 4, however much of the image nuclei cover, and holds the image in memory. For the
    other arguments and the errors see `intensity_statistics`.
    """
    mean, std = intensity_statistics(image, valid)
    if method == "standard":
        return mean, std
    values = np.concatenate([band.ravel() for band in _bands(image, valid)])
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values.astype(np.uint8) if values.dtype == bool else values, PERCENTILES).tolist()
    # With very few nuclei on a clipped background, almost all pixels are equal.
    return low, (high - low) / PERCENTILE_RANGE if high > low else std


def intensity_statistics(image: Any, valid: Any = None) -> tuple[float, float]:
    """Mean and population standard deviation of an image of any shape, from exact sums.

    Integer pixels (up to 32 bits) are summed as integers, floating-point pixels by `math.fsum`. A constant image has
    standard deviation 0.

    image : a numpy array, or anything that slices like one (a zarr array); it is read in bands of rows and never held
    in memory as a whole. valid : bool, of the image's shape, the pixels that count; None for all. Without valid pixels
    both results are 0.

    Raises TypeError for other dtypes, ValueError if `valid` has another shape.
    """
    dtype = np.dtype(image.dtype)
    if valid is not None and tuple(valid.shape) != tuple(image.shape):
        raise ValueError(f"valid has shape {tuple(valid.shape)}, the image {tuple(image.shape)}")
    if dtype.kind in "ub" or (dtype.kind == "i" and dtype.itemsize <= 4):
        n = total = squares = 0
        for band in _bands(image, valid):
            values = band.astype(np.int64)
            n += values.size
            total += int(values.sum())
            # Squares of 32-bit pixels can overflow a 64-bit sum; such rows are summed as Python integers.
            squares += sum(int(row.sum()) for row in _squares(values))
        if not n:
            return 0.0, 0.0
        variance = (n * squares - total * total) / (n * n)
        return total / n, math.sqrt(variance)
    if dtype.kind == "f":
        n = sum(band.size for band in _bands(image, valid))
        if not n:
            return 0.0, 0.0
        bands = (band.astype(np.float64).ravel() for band in _bands(image, valid))
        mean = math.fsum(chain.from_iterable(bands)) / n
        deviations = ((band.astype(np.float64).ravel() - mean) ** 2 for band in _bands(image, valid))
        return mean, math.sqrt(math.fsum(chain.from_iterable(deviations)) / n)
    raise TypeError(f"cannot standardise pixels of type {dtype}")


def normalize(image: np.ndarray, method: str = "standard") -> np.ndarray:
    """The image, normalised by a method of `normalization_statistics`: float32, same shape; zeros if it is constant."""
    return apply_statistics(image, *normalization_statistics(image, method=method))


def apply_statistics(image: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """An image, or a window of it, normalised with the statistics of the whole image: float32, same shape.

    A scale of 0 counts as 1.
    """
    return (image.astype(np.float32) - np.float32(offset)) / np.float32(scale or 1.0)


def _bands(image: Any, valid: Any) -> Iterator[np.ndarray]:
    """The image in bands of rows; if `valid` is given, only the valid pixels of each band, in one dimension."""
    if not image.shape:
        yield np.asarray(image[()]).reshape(1)
        return
    for start in range(0, image.shape[0], ROWS):
        band = np.asarray(image[start : start + ROWS])
        yield band if valid is None else band[np.asarray(valid[start : start + ROWS], dtype=bool)]


def _squares(values: np.ndarray) -> Iterator[np.ndarray]:
    rows = values.reshape(values.shape[0], -1) if values.ndim > 1 else values[np.newaxis]
    for row in rows:
        peak = int(np.abs(row).max(initial=0))
        yield row * row if peak**2 * row.size < 2**63 else row.astype(object) ** 2
