"""Maps of whole images and of their rotations, computed without breaking a network's symmetry.

Maps are the outputs of a network, [N, K, H, W]: logits and distances (`equinuclei.networks.targets`).
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from itertools import product
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from equinuclei.errors import InputError
from equinuclei.images.intensity import normalize
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.symmetry import Element, Group, canonical_elements, mean_over_coset

Placed = TypeVar("Placed", np.ndarray, Tensor)


def pad_placements(size: int, multiple: int) -> list[tuple[int, int]]:
    """Pads (before, after) that extend a length in pixels to the next multiple: a symmetric one, or a mirrored pair.

    Padding on one side only would shift the pooling grid of a rotated image relative to that of the image (relative
    error 0.33). An odd pad cannot be symmetric, but its two mirrored placements together are.
    """
    pad = -size % multiple
    small, large = pad // 2, pad - pad // 2
    return [(small, large)] if small == large else [(small, large), (large, small)]


def image_placements(height: int, width: int, multiple: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """`pad_placements` of both axes of an image, (vertical, horizontal).

    Raises InputError for images smaller than the padding they need, which leave too little to reflect.
    """
    vertical, horizontal = pad_placements(height, multiple), pad_placements(width, multiple)
    if max(vertical[0]) >= height or max(horizontal[0]) >= width:
        raise InputError(
            f"an image of {height} x {width} pixels is too small for a network that needs multiples of "
            f"{multiple}: leave it out, or choose a network with fewer levels"
        )
    return vertical, horizontal


def predict_maps(network: SegmentationNetwork, images: Tensor, *, exact: bool = False) -> Tensor:
    """Maps [N, K, H, W] of normalised images [N, 1, H, W] of any size, as equivariant as the network itself.

    Images are padded by reflection to the network's input multiple. If a pad is odd, the maps are averaged over its two
    mirrored placements (four if both pads are odd), at two or four times the cost. `exact` uses the network's exact
    mode, which is bit-identical under its group.

    Raises InputError for images smaller than the padding they need.
    """
    height, width = images.shape[-2:]
    vertical, horizontal = image_placements(height, width, network.input_multiple)
    evaluate = network.exact if exact else network
    maps = {}
    for (v, (top, bottom)), (h, (left, right)) in product(enumerate(vertical), enumerate(horizontal)):
        padded = functional.pad(images, (left, right, top, bottom), mode="reflect")
        maps[v, h] = evaluate(padded)[..., top : top + height, left : left + width]
    return mean_over_placements(maps)


def mean_over_placements(maps: Mapping[tuple[int, int], Placed]) -> Placed:
    """Mean of maps over one, two or four placements of the pad, numbered (vertical, horizontal)."""
    if len(maps) == 4:
        # Floating-point addition is commutative but not associative. Opposite corners stay opposite under rotation, so
        # only this order of summation is invariant.
        return ((maps[0, 0] + maps[1, 1]) + (maps[0, 1] + maps[1, 0])) / 4
    return reduce(operator.add, maps.values()) / len(maps)


def predict_exact(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """Maps in exact mode: bit-identical under the group of the network."""
    return predict_maps(network, image, exact=True)


def predict_canonical(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """Maps of the image in its canonical orientation, transformed back: this makes any network exactly equivariant.

    Bit-identical under all of p4m with one prediction per image, since the network always sees the same image. An image
    with a symmetry of its own can be transformed back in several ways; the mean over them has the same symmetry.
    """
    elements = canonical_elements(image[0, 0].cpu().numpy())
    maps = predict_maps(network, elements[0](image).contiguous())
    return mean_over_coset({g.inverse: g.inverse(maps) for g in elements})


def predict_augmented(network: SegmentationNetwork, image: Tensor, group: Group) -> Tensor:
    """Test-time augmentation: mean of the maps of all transforms of an image under a group, transformed back.

    Bit-identical under the group, with as many predictions as it has elements.
    """
    return mean_over_coset({g: g(predict_maps(network, g.inverse(image).contiguous())) for g in group.elements})


def predict_tta4(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """`predict_augmented` over the four rotations."""
    return predict_augmented(network, image, Group.P4)


def predict_tta8(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """`predict_augmented` over rotations and mirrors."""
    return predict_augmented(network, image, Group.P4M)


METHODS: dict[str, Callable[[SegmentationNetwork, Tensor], Tensor]] = {
    "deployed": predict_maps,
    "exact": predict_exact,
    "canonical": predict_canonical,
    "tta4": predict_tta4,
    "tta8": predict_tta8,
}
"""Functions that predict one normalised image [1, 1, H, W], by the name of the inference mode."""


@torch.inference_mode()
def predict_transforms(
    network: SegmentationNetwork,
    image: np.ndarray,
    elements: Iterable[Element],
    device: torch.device | str = "cpu",
    inference: str = "deployed",
) -> dict[Element, np.ndarray]:
    """Maps of an image's transforms, each transformed back into the frame of the image.

    image : (y, x), stored dtype; inference : a key of METHODS. Returns, per element g, g^-1(network(g(image))):
    (K, y, x) float32, equal for all g if the network is equivariant. Images are predicted one at a time, because the
    last bits of a map may depend on the batch.
    """
    normalized = normalize(image, network.normalization)
    maps = {}
    for element in elements:
        turned = torch.from_numpy(np.ascontiguousarray(element(normalized))).to(device)
        output = METHODS[inference](network, turned[None, None])[0]
        maps[element] = np.ascontiguousarray(element.inverse(output.float().cpu().numpy()))
    return maps
