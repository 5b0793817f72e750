"""Logits of whole images, and of their rotations, without breaking a network's symmetry."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from equinuclei.errors import InputError
from equinuclei.intensity import standardize
from equinuclei.models.network import SegmentationNetwork
from equinuclei.symmetry import Element


def pad_placements(size: int, multiple: int) -> list[tuple[int, int]]:
    """Pads (before, after) that bring a length in pixels to the next multiple: a symmetric one, or two mirrored ones.

    A pad on one side only moves the pooling grid of the turned image against that of the image (relative error 0.33).
    An odd pad cannot be symmetric; its two mirrored placements together are.
    """
    pad = -size % multiple
    small, large = pad // 2, pad - pad // 2
    return [(small, large)] if small == large else [(small, large), (large, small)]


def predict_logits(network: SegmentationNetwork, images: Tensor) -> Tensor:
    """Logits [N, 1, H, W] of standardised images [N, 1, H, W] of any size, as equivariant as the network itself.

    Images are padded by reflection to the network's input multiple. Where a pad is odd, the logits are averaged over
    its two mirrored placements (four, if both are odd), at two or four times the cost.

    Raises InputError for images that are smaller than the pad that they need.
    """
    height, width = images.shape[-2:]
    vertical = pad_placements(height, network.input_multiple)
    horizontal = pad_placements(width, network.input_multiple)
    if max(vertical[0]) >= height or max(horizontal[0]) >= width:
        raise InputError(
            f"an image of {height} x {width} pixels is too small for a network that needs multiples of "
            f"{network.input_multiple}; leave it out or choose a network with fewer levels"
        )
    logits = {}
    for (v, (top, bottom)), (h, (left, right)) in product(enumerate(vertical), enumerate(horizontal)):
        padded = functional.pad(images, (left, right, top, bottom), mode="reflect")
        logits[v, h] = network(padded)[..., top : top + height, left : left + width]
    if len(logits) == 4:
        # Floating-point addition commutes but does not associate. Opposite corners stay opposite when the square is
        # turned, so this order of the sums is the only one that survives a rotation.
        return ((logits[0, 0] + logits[1, 1]) + (logits[0, 1] + logits[1, 0])) / 4
    return sum(logits.values()) / len(logits)


@torch.inference_mode()
def predict_transforms(
    network: SegmentationNetwork,
    image: np.ndarray,
    elements: Iterable[Element],
    device: torch.device | str = "cpu",
    inference: str = "deployed",
) -> dict[Element, np.ndarray]:
    """Logits of an image's transforms, each brought back into the frame of the image.

    image : (y, x), stored dtype. Returns, per element g, g^-1(network(g(image))): (y, x) float32, equal for all g if
    the network is equivariant. One image at a time: the last bits of a logit may depend on the batch.
    """
    standardized = standardize(image)
    logits = {}
    for element in elements:
        turned = torch.from_numpy(np.ascontiguousarray(element(standardized))).to(device)
        output = predict_logits(network, turned[None, None])[0, 0]
        logits[element] = np.ascontiguousarray(element.inverse(output.float().cpu().numpy()))
    return logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probability of a nucleus pixel, float32, same shape."""
    return torch.sigmoid(torch.from_numpy(logits)).numpy()
