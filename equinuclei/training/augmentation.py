"""Augmentation of training crops besides rotations: magnification, and what microscopes and cameras do to pixels.

Each crop has its own random generator, so a crop is the same whether training was interrupted or not.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def zoom_factors(rng: np.random.Generator, zoom: float, count: int) -> np.ndarray:
    """Magnifications from 1 / zoom to zoom, float (count,), uniform in their logarithm."""
    return zoom ** rng.uniform(-1, 1, count)


def resize_crop(image: Tensor, target: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A square crop and its truth, both float32 (y, x), resized to (size, size).

    The image is interpolated linearly, with antialiasing where it shrinks. The truth takes the nearest pixel, as its
    values may be classes.
    """
    if image.shape == (size, size):
        return image, target
    shape = (size, size)
    resized = functional.interpolate(image[None, None], shape, mode="bilinear", antialias=True)
    nearest = functional.interpolate(target[None, None], shape, mode="nearest-exact")
    return resized[0, 0], nearest[0, 0]


def photometric(crop: Tensor, rng: np.random.Generator) -> Tensor:
    """A normalised crop, float32 (y, x), as another exposure of the same nuclei might look.

    Each of these with its own probability: a curved response (gamma 0.6 to 1.6), blur (a Gaussian of up to 1.5 pixels),
    uneven illumination (a plane, up to half a standard deviation of the image from edge to edge), saturation (the
    brightest tenth at most), Gaussian noise (up to 0.3 standard deviations); and always another contrast (0.7 to 1.4
    times) and brightness (0.2 standard deviations).
    """
    chances = rng.random(5)
    gamma, sigma, (slope, angle), share, noise = (
        math.exp(rng.uniform(-0.5, 0.5)),
        rng.uniform(0.3, 1.5),
        (rng.uniform(0, 0.5), rng.uniform(0, 2 * math.pi)),
        rng.uniform(0, 0.1),
        rng.uniform(0, 0.3),
    )
    contrast, brightness = math.exp(rng.uniform(-0.35, 0.35)), rng.normal(0, 0.2)
    lowest, highest = float(crop.min()), float(crop.max())
    if chances[0] < 0.5 and highest > lowest:
        crop = ((crop - lowest) / (highest - lowest)) ** gamma * (highest - lowest) + lowest
    if chances[1] < 0.25:
        crop = _blur(crop, sigma)
    if chances[2] < 0.3:
        y, x = (torch.linspace(-0.5, 0.5, size, device=crop.device) for size in crop.shape)
        crop = crop + slope * (math.sin(angle) * y[:, None] + math.cos(angle) * x[None, :])
    if chances[3] < 0.1:
        crop = crop.clamp(max=float(np.quantile(crop.cpu().numpy(), 1 - share)))
    crop = crop * contrast + brightness
    if chances[4] < 0.4:
        grain = rng.standard_normal(crop.shape, dtype=np.float32)
        crop = crop + noise * torch.from_numpy(grain).to(crop.device)
    return crop


def _blur(crop: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=crop.device) / sigma) ** 2)
    weights = weights / weights.sum()
    padded = functional.pad(crop[None, None], (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, weights.view(1, 1, -1, 1))
    return functional.conv2d(rows, weights.view(1, 1, 1, -1))[0, 0]
