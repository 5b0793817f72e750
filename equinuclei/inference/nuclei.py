"""Segmenting one image with a trained network, at the size of nuclei that the network works best with."""

import math
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch

from equinuclei.errors import InputError
from equinuclei.images.instances import Cleaning, parted_nuclei
from equinuclei.images.rescaling import magnification, typical_diameter
from equinuclei.inference.sizes import SizeEstimate
from equinuclei.inference.tiling import TILE, predict_mosaic
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of

ESTIMATED = "estimated"
"""The value of `diameter` that stands for estimating it from the image."""

SIZE_TOLERANCE = 1.25
"""Factor by which nuclei may deviate from a network's own size before an image is magnified again. Chosen on groups
held out of the training part (`benchmarks/recipes.py`)."""

SIZE_ESTIMATES = 3
"""Most rounds of estimation. Nuclei four times too large, which are found in pieces at first, need all of them."""

MOST_PIXELS = 2**28
"""Largest magnified image, for which the two maps of a distance network take 2 GiB."""


@dataclass(frozen=True)
class Segmentation:
    """The nuclei of an image (y, x).

    labels : int32 (y, x). probability : of nucleus, float32 (y, x).
    diameter : of the typical nucleus found (`rescaling.typical_diameter`), in pixels of the image; NaN if none.
    magnification : by which the network saw the image.
    estimate : of the size that it was magnified for; None where the size was told, or the image taken as it is.
    """

    labels: np.ndarray
    probability: np.ndarray
    diameter: float
    magnification: float
    estimate: SizeEstimate | None


def segment_image(
    network: SegmentationNetwork,
    image: np.ndarray,
    *,
    diameter: float | str | None = ESTIMATED,
    tile: int = TILE,
    device: torch.device | str = "cpu",
    **cleaning: Unpack[Cleaning],
) -> Segmentation:
    """The nuclei of an image (y, x), in its stored dtype.

    network : as folded by `folding.fold`, on the device.
    diameter : of the typical nucleus, in pixels. The network sees the image magnified to `network.diameter`. ESTIMATED:
        nuclei are first segmented in the image at its own scale, then again at the scale that their diameter suggests,
        until this scale agrees with the one in use (SIZE_TOLERANCE); for a network without a diameter, and for None,
        the image is used at its own scale.
    cleaning : settings of `instances.nuclei`. Touching nuclei are separated by `instances.parted_nuclei`.

    Raises InputError if the image is too small for the network, a tile is too large for the memory of the GPU, or a
    diameter is given for a network without one.
    """
    target = target_of(network.target)

    def predict(factor: float) -> tuple[np.ndarray, np.ndarray]:
        try:
            maps = predict_mosaic(network, image, tile=tile, device=device, magnification=factor)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the GPU's memory is too small for tiles of {tile} pixels: try tiles of {tile // 2}"
            ) from error
        return target.codes(maps), target.probability(maps)

    used = 1.0
    if isinstance(diameter, float | int):
        used = fitting_magnification(network, diameter, image.shape)
    codes, probability = predict(used)
    labels = parted_nuclei(codes, network.target)  # all nuclei count for the size, also those left out in the end
    estimate = None
    if diameter == ESTIMATED and network.diameter is not None:
        at_limit = False
        for _ in range(SIZE_ESTIMATES):
            wanted = fitting_magnification(network, typical_diameter(labels), image.shape)
            at_limit = wanted * typical_diameter(labels) / network.diameter < 1 / SIZE_TOLERANCE
            if not labels.any() or 1 / SIZE_TOLERANCE < wanted / used < SIZE_TOLERANCE:
                break
            again = predict(wanted)
            if not again[0].any():  # nothing is a nucleus at the suggested scale
                break
            (codes, probability), used = again, wanted
            labels = parted_nuclei(codes, network.target)
        estimate = SizeEstimate(typical_diameter(labels), probability[labels > 0].sum().item(), math.nan, 1.0, at_limit)
    found = typical_diameter(labels)
    labels = parted_nuclei(codes, network.target, **cleaning) if any(cleaning.values()) else labels
    return Segmentation(labels, probability, found, used, estimate)


def fitting_magnification(network: SegmentationNetwork, diameter: float, shape: tuple[int, int]) -> float:
    """The magnification that brings nuclei of a `diameter` (pixels) in an image of shape (y, x) to the network's own.

    A reduced image keeps at least `network.input_multiple` pixels along both axes, if it has them; an enlarged image
    has at most MOST_PIXELS. Raises InputError for a network without a diameter.
    """
    least, most = min(1.0, network.input_multiple / min(shape)), max(1.0, math.sqrt(MOST_PIXELS / math.prod(shape)))
    return min(max(magnification(diameter, network.diameter), least), most)
