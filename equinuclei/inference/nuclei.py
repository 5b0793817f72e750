"""Segmenting one image with a trained network, at the size of nuclei that the network works best with."""

import math
from typing import Unpack

import numpy as np
import torch

from equinuclei.errors import InputError
from equinuclei.images.instances import Cleaning, parted_nuclei
from equinuclei.images.rescaling import magnification, typical_diameter
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


def segment_image(
    network: SegmentationNetwork,
    image: np.ndarray,
    *,
    diameter: float | str | None = ESTIMATED,
    tile: int = TILE,
    device: torch.device | str = "cpu",
    **cleaning: Unpack[Cleaning],
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, int32 (y, x), and probability, float32 (y, x), of the nuclei in an image (y, x).

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
    if diameter != ESTIMATED or network.diameter is None:
        return parted_nuclei(codes, network.target, **cleaning), probability
    labels = parted_nuclei(codes, network.target)  # all nuclei count for the size, also those left out in the end
    for _ in range(SIZE_ESTIMATES):
        wanted = fitting_magnification(network, typical_diameter(labels), image.shape)
        if not labels.any() or 1 / SIZE_TOLERANCE < wanted / used < SIZE_TOLERANCE:
            break
        again = predict(wanted)
        if not again[0].any():  # nothing is a nucleus at the suggested scale
            break
        (codes, probability), used = again, wanted
        labels = parted_nuclei(codes, network.target)
    return parted_nuclei(codes, network.target, **cleaning) if any(cleaning.values()) else labels, probability


def fitting_magnification(network: SegmentationNetwork, diameter: float, shape: tuple[int, int]) -> float:
    """The magnification that brings nuclei of a `diameter` (pixels) in an image of shape (y, x) to the network's own.

    A reduced image keeps at least `network.input_multiple` pixels along both axes, if it has them; an enlarged image
    has at most MOST_PIXELS. Raises InputError for a network without a diameter.
    """
    least, most = min(1.0, network.input_multiple / min(shape)), max(1.0, math.sqrt(MOST_PIXELS / math.prod(shape)))
    return min(max(magnification(diameter, network.diameter), least), most)
