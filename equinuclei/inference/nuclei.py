"""Nuclei of an image: what a trained network makes of it, at the size of nuclei that the network knows best."""

import math

import numpy as np
import torch

from equinuclei.errors import InputError
from equinuclei.images.instances import parted_nuclei
from equinuclei.images.rescaling import magnification, typical_diameter
from equinuclei.inference.tiling import TILE, predict_mosaic
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of

ESTIMATED = "estimated"
"""A diameter of nuclei that nobody told."""

SIZE_TOLERANCE = 1.25
"""How far nuclei may be from a network's own size, in either direction, before an image is magnified anew. Chosen on
groups held out of train (`benchmarks/recipes.py`)."""

SIZE_ESTIMATES = 3
"""Nuclei four times too large are found in pieces at first, and need so many."""

MOST_PIXELS = 2**28
"""Of a magnified image: the two maps of a distance network are 2 GiB of them."""


def segment_image(
    network: SegmentationNetwork,
    image: np.ndarray,
    *,
    diameter: float | str | None = ESTIMATED,
    tile: int = TILE,
    device: torch.device | str = "cpu",
    min_area: int = 0,
    fill_holes: bool = False,
    exclude_border: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, int32 (y, x), and probability, float32 (y, x), of the nuclei of an image (y, x).

    network : as folded by `folding.fold`, on the device; min_area, fill_holes, exclude_border : of `instances.nuclei`;
    touching nuclei are parted as the network's target allows.

    diameter : of the typical nucleus, in pixels: the network sees the image magnified so that it is `network.diameter`
    across. ESTIMATED: that of the nuclei which are found, at first in the image as it is, until it is near enough to
    what it was found with (SIZE_TOLERANCE); a network without a diameter takes the image as it is. None: as it is.

    Raises InputError for an image that is too small for the network, or too large for the memory of the GPU, and for a
    diameter that a network without one is told.
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

    options = {"min_area": min_area, "fill_holes": fill_holes, "exclude_border": exclude_border}
    used = 1.0
    if isinstance(diameter, float | int):
        used = fitting_magnification(network, diameter, image.shape)
    codes, probability = predict(used)
    if diameter != ESTIMATED or network.diameter is None:
        return parted_nuclei(codes, network.target, **options), probability
    labels = parted_nuclei(codes, network.target)  # all of them tell their size, whatever is left out in the end
    for _ in range(SIZE_ESTIMATES):
        wanted = fitting_magnification(network, typical_diameter(labels), image.shape)
        if not labels.any() or 1 / SIZE_TOLERANCE < wanted / used < SIZE_TOLERANCE:
            break
        again = predict(wanted)
        if not again[0].any():  # they are none, at the size that they should have
            break
        (codes, probability), used = again, wanted
        labels = parted_nuclei(codes, network.target)
    return parted_nuclei(codes, network.target, **options) if any(options.values()) else labels, probability


def fitting_magnification(network: SegmentationNetwork, diameter: float, shape: tuple[int, int]) -> float:
    """How far an image (y, x) with nuclei of a diameter in pixels is magnified to have them as the network knows them.

    What becomes smaller keeps `network.input_multiple` pixels along either axis, if it has them; what becomes larger
    has no more than MOST_PIXELS. Raises InputError for a network without a diameter.
    """
    least, most = min(1.0, network.input_multiple / min(shape)), max(1.0, math.sqrt(MOST_PIXELS / math.prod(shape)))
    return min(max(magnification(diameter, network.diameter), least), most)
