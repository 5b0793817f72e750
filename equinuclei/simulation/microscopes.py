"""Two simulated microscopes: what their cameras see of a sample."""

import math

import numpy as np
from scipy import ndimage

from equinuclei.simulation.samples import REFERENCE_AREA, Sample
from equinuclei.simulation.textures import smooth_noise, spots, wide_blur


def fluorescence(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of the stained DNA: uint16 counts (y, x), with the sample's margin."""
    scale, labels = sample.scale, sample.labels
    shape = labels.shape
    grain = smooth_noise(rng, shape, 1.1 * scale)
    clouds = smooth_noise(rng, shape, 3.0 * scale)
    stain = sample.brightness[labels] * (0.62 + 0.38 * np.sqrt(sample.depth))
    stain *= np.maximum(1 + sample.texture[labels] * (0.8 * grain + 0.8 * clouds), 0.15)
    stain *= 1 - 0.45 * np.minimum(sample.nucleoli, 1)
    stain *= 1 + 0.9 * np.minimum(sample.chromocenters, 1.5)

    focus = scale * rng.uniform(0.8, 1.5)
    blurred = np.where(sample.blurred[labels], stain, 0)
    light = ndimage.gaussian_filter(stain - blurred, focus, truncate=3)
    if blurred.any():
        light += ndimage.gaussian_filter(blurred, 2.6 * scale, truncate=3)
    # light from out of focus: each nucleus is surrounded by its own glow, and the cytoplasm contains some stain
    light += rng.uniform(0.25, 0.5) * wide_blur(stain, 11 * scale)
    light += rng.uniform(0.02, 0.07) * np.minimum(sample.body, 1.2)
    light += rng.uniform(0.0, 0.12) * np.maximum(smooth_noise(rng, shape, 30 * scale) + 0.8, 0)
    light += _bright_debris(sample, rng)
    light += rng.uniform(0.04, 0.16)
    light *= _illumination(rng, shape, 0.5)

    # photoelectrons; an underexposed field is noisier
    electrons = light * np.exp(rng.uniform(math.log(70), math.log(500)))
    detected = rng.poisson(electrons).astype(np.float32)
    detected += 3 * rng.standard_normal(shape, dtype=np.float32)  # read noise
    counts_per_electron = 16
    return np.clip(np.rint(400 + counts_per_electron * detected), 0, 65535).astype(np.uint16)


def _bright_debris(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Stained specks that are not nuclei, single ones and crumbs of dead cells: float32 (y, x)."""
    height, width = sample.labels.shape
    count = height * width / (REFERENCE_AREA * sample.scale**2)
    singles = rng.poisson(3.0 * count)
    y, x = rng.uniform(0, height, singles), rng.uniform(0, width, singles)
    for _ in range(rng.poisson(0.5 * count)):
        crumbs = rng.integers(3, 8)
        y = np.append(y, rng.uniform(0, height) + rng.normal(0, 3.5 * sample.scale, crumbs))
        x = np.append(x, rng.uniform(0, width) + rng.normal(0, 3.5 * sample.scale, crumbs))
    small = rng.random(y.size) < 0.6
    debris = 1.1 * spots(rng, (height, width), y[small], x[small], 0.9 * sample.scale)
    return debris + 1.1 * spots(rng, (height, width), y[~small], x[~small], 1.7 * sample.scale)


def brightfield(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of the unstained cells: uint16 counts (y, x), with the sample's margin.

    Cells are transparent and only delay the light. Slightly out of focus, the delay changes the intensity in proportion
    to its Laplacian (transport-of-intensity equation: Teague, J. Opt. Soc. Am. 73, 1434, 1983), and a lamp that is not
    quite centred adds its derivative along one direction. The direction is random, so that no orientation is special.
    """
    line, scale, labels = sample.line, sample.scale, sample.labels
    shape = labels.shape
    cytoplasm = np.clip(2.5 * sample.body, 0, 1) * (1 - 0.85 * np.minimum(6 * sample.depth, 1))
    delay = 2.6 * sample.body
    # a nucleus is a flat disc with a steep edge
    delay += 1.2 * (1 - np.exp(-7 * sample.depth))
    delay += 0.7 * np.minimum(sample.nucleoli, 1.5)
    delay += 0.08 * line.granularity * cytoplasm * smooth_noise(rng, shape, 0.9 * scale)
    delay += 0.28 * line.granularity * cytoplasm * smooth_noise(rng, shape, 2.4 * scale)
    delay += _vacuoles(sample, rng, cytoplasm)

    delay = ndimage.gaussian_filter(delay, scale * rng.uniform(0.8, 1.2), truncate=3)
    slope_y, slope_x = np.gradient(delay)
    direction = rng.uniform(0, 2 * math.pi)
    tilt = scale * rng.uniform(0.0, 0.16)
    defocus = scale**2 * rng.uniform(0.16, 0.30)
    light = 1 - defocus * ndimage.laplace(delay)
    light += tilt * (math.sin(direction) * slope_y + math.cos(direction) * slope_x)
    light -= 0.012 * np.minimum(sample.body, 1)
    light = _add_dirt(light, sample, rng)
    light *= _illumination(rng, shape, 0.06)
    light += 0.004 * smooth_noise(rng, shape, 20 * scale)
    light += rng.uniform(0.008, 0.020) * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(np.rint(light * rng.uniform(26000, 36000)), 0, 65535).astype(np.uint16)


def _vacuoles(sample: Sample, rng: np.random.Generator, cytoplasm: np.ndarray) -> np.ndarray:
    """Delay of droplets and vacuoles in the cytoplasm: float32 (y, x)."""
    height, width = sample.labels.shape
    tries = rng.poisson(200 * sample.line.granularity * height * width / (REFERENCE_AREA * sample.scale**2))
    y, x = rng.integers(0, height, tries), rng.integers(0, width, tries)
    # droplets are spread unevenly over the cells: some are full of them
    crowded = smooth_noise(rng, (height, width), 14 * sample.scale)[y, x] > 0.3
    kept = crowded & (rng.random(tries) < cytoplasm[y, x])
    return 0.9 * spots(rng, (height, width), y[kept], x[kept], 1.1 * sample.scale)


def _add_dirt(light: np.ndarray, sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Darken a brightfield image (y, x) where dirt lies on the dish, with a bright fringe around it."""
    height, width = light.shape
    count = rng.poisson(1.5 * height * width / (REFERENCE_AREA * sample.scale**2))
    y, x = rng.uniform(0, height, count), rng.uniform(0, width, count)
    core = spots(rng, light.shape, y, x, 1.5 * sample.scale)
    halo = ndimage.gaussian_filter(core, 2 * sample.scale, truncate=3)
    return np.maximum(light * (1 - 0.5 * np.minimum(core, 1.4)) + 0.5 * halo, 0.05)


def _illumination(rng: np.random.Generator, shape: tuple[int, int], fall: float) -> np.ndarray:
    """Uneven illumination: float32 (y, x), 1 at its maximum, and lower by up to `fall` far from it."""
    height, width = shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.8, 0.8))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(rng.uniform(-0.8, 0.8))
    return 1 - np.float32(fall * rng.uniform(0.5, 1.0)) * np.minimum((y * y + x * x) / np.float32(3.0), 1)
