"""Interpolation of images to another size.

About the centre and the same along both axes, so that it commutes with rotations and mirrors to rounding.
"""

from torch import Tensor
from torch.nn import functional


def resize(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images or maps [N, K, H, W] float32 of another height and width: interpolated linearly, averaged where they
    shrink. Those of the shape already are returned as they are."""
    if tuple(images.shape[-2:]) == tuple(shape):
        return images
    return functional.interpolate(images, shape, mode="bilinear", antialias=True)
