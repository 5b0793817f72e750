"""Building blocks of simulated images: spots, smooth noise, and wide blurs."""

import math

import numpy as np
from scipy import ndimage
from skimage.util import view_as_blocks


def spots(rng: np.random.Generator, shape: tuple[int, int], y: np.ndarray, x: np.ndarray, size: float) -> np.ndarray:
    """Gaussian spots of random strength (mean 1) and of the given standard deviation in pixels: float32 (y, x)."""
    canvas = np.zeros(shape, dtype=np.float32)
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    strength = rng.uniform(0.5, 1.5, rows.size)
    kept = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    np.add.at(canvas, (rows[kept], columns[kept]), strength[kept])
    return ndimage.gaussian_filter(canvas, size, truncate=3) * np.float32(2 * math.pi * size**2)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """Smooth noise of zero mean and unit variance with structures of `size` pixels: float32 (y, x)."""
    step = max(1, int(size / 2.5))
    coarse_shape = tuple(-(-length // step) for length in shape)
    coarse = rng.standard_normal(coarse_shape, dtype=np.float32)
    sigma = size / step
    # variance of white noise after the blur is 1 / (4 pi sigma^2)
    coarse = ndimage.gaussian_filter(coarse, sigma, truncate=3, mode="wrap") * np.float32(
        2 * math.sqrt(math.pi) * sigma
    )
    return _enlarge(coarse, step, shape)


def wide_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with a standard deviation of many pixels, computed on a coarse grid: float32 (y, x)."""
    step = max(1, int(sigma / 2.5))
    padded = np.pad(image, [(0, -length % step) for length in image.shape], mode="edge")
    coarse = view_as_blocks(padded, (step, step)).mean(axis=(2, 3), dtype=np.float32)
    return _enlarge(ndimage.gaussian_filter(coarse, sigma / step, truncate=3), step, image.shape)


def _enlarge(coarse: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge an array (y, x) `step` times by linear interpolation and cut it to `shape`."""
    if step > 1:
        coarse = ndimage.zoom(coarse, step, order=1, mode="nearest", grid_mode=True)
    return coarse[: shape[0], : shape[1]]
