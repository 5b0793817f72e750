"""Nuclei of an image: what a trained network makes of it, at the size of nuclei that the network knows best."""

import numpy as np
import torch

from equinuclei.errors import InputError
from equinuclei.instances import parted_nuclei
from equinuclei.models.network import SegmentationNetwork
from equinuclei.rescaling import bounded_magnification, magnification, typical_diameter
from equinuclei.targets import TARGETS
from equinuclei.tiling import TILE, predict_mosaic

ESTIMATED = "estimated"
"""A diameter of nuclei that nobody told."""

SIZE_TOLERANCE = 1.25
"""How far nuclei may be from a network's own size, in either direction, before an image is magnified anew. Chosen on
groups held out of train (`benchmarks/recipes.py`)."""

SIZE_ESTIMATES = 3
"""Nuclei four times too large are found in pieces at first, and need so many."""


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
    across, where that is told. ESTIMATED: that of the nuclei which are found, at first in the image as it is, until it
    is near enough to what it was found with (SIZE_TOLERANCE). None: the image is taken as it is.

    Raises InputError for an image that is too small for the network, or too large for the memory of the GPU.
    """
    target = TARGETS[network.target]
    options = {"min_area": min_area, "fill_holes": fill_holes, "exclude_border": exclude_border}

    def segment(factor: float) -> tuple[np.ndarray, np.ndarray]:
        try:
            maps = predict_mosaic(network, image, tile=tile, device=device, magnification=factor)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the GPU's memory is too small for tiles of {tile} pixels: try --tile {tile // 2}"
            ) from error
        return parted_nuclei(target.codes(maps), network.target, **options), target.probability(maps)

    def fitting(diameter: float) -> float:
        return bounded_magnification(magnification(diameter, network.diameter), image.shape, network.input_multiple)

    if diameter is None or (diameter == ESTIMATED and network.diameter is None):
        return segment(1.0)
    if diameter != ESTIMATED:
        return segment(fitting(diameter))
    used = 1.0
    for _ in range(SIZE_ESTIMATES):
        found = segment(used)
        wanted = fitting(typical_diameter(found[0]))
        if 1 / SIZE_TOLERANCE < wanted / used < SIZE_TOLERANCE:
            return found
        used = wanted
    return segment(used)
