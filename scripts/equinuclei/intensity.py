"""Standardisation of images.

A mean summed in floating point depends on the order of the pixels, so the mean of a turned image would differ in its
last bits and with it every pixel. The sums here are exact, so standardising commutes with every rotation and mirror,
bit for bit.
"""

import math

import numpy as np


def intensity_statistics(image: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation of an image of any shape, from exact sums.

    Integer pixels (up to 32 bits) are summed as integers, floating-point pixels by `math.fsum`. A constant image
    has standard deviation 0. Raises TypeError for another dtype.
    """
    n = image.size
    if image.dtype.kind in "ub" or (image.dtype.kind == "i" and image.dtype.itemsize <= 4):
        values = image.astype(np.int64)
        total = int(values.sum())
        # Squares of 32-bit pixels overflow a 64-bit sum: Python's integers take the sums of rows that cannot.
        squares = sum(int(row.sum()) for row in _squares(values))
        variance = (n * squares - total * total) / (n * n)
        return total / n, math.sqrt(variance)
    if image.dtype.kind == "f":
        values = image.astype(np.float64).ravel()
        mean = math.fsum(values) / n
        return mean, math.sqrt(math.fsum((values - mean) ** 2) / n)
    raise TypeError(f"cannot standardise pixels of type {image.dtype}")


def standardize(image: np.ndarray) -> np.ndarray:
    """The image with zero mean and unit variance, float32, same shape. A constant image becomes zeros."""
    mean, std = intensity_statistics(image)
    return (image.astype(np.float32) - np.float32(mean)) / np.float32(std or 1.0)


def _squares(values: np.ndarray):
    rows = values.reshape(values.shape[0], -1) if values.ndim > 1 else values[np.newaxis]
    for row in rows:
        peak = int(np.abs(row).max(initial=0))
        yield row * row if peak**2 * row.size < 2**63 else row.astype(object) ** 2
