"""Interpolation of images to another size.

About the centre and the same along both axes, so that it commutes with rotations and mirrors: to 1e-5 in float32, where
PyTorch rounds the places of pixels, and to rounding in float64.
"""

from torch import Tensor
from torch.nn import functional


def resize(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images or maps [N, K, H, W] of another height and width: interpolated linearly, averaged where they
    shrink. Those of the shape already are returned as they are."""
    if tuple(images.shape[-2:]) == tuple(shape):
        return images
    return functional.interpolate(images, shape, mode="bilinear", antialias=True)
