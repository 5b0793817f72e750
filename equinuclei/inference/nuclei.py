"""Segmenting one image with a trained network, at the size of nuclei that the network works best with."""

import math
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import torch

from equinuclei.errors import InputError
from equinuclei.images.instances import Cleaning, parted_nuclei
from equinuclei.images.intensity import normalization_statistics
from equinuclei.images.rescaling import magnification, typical_diameter
from equinuclei.inference.sizes import SizeEstimate, estimate_size
from equinuclei.inference.tiling import normalized, predict_mosaic
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of

ESTIMATED = "estimated"
"""The value of `diameter` that stands for estimating it from the image."""

SIZE_TOLERANCE = 1.25
"""Factor by which estimated nuclei may deviate from a network's own size before an image is magnified. Chosen on groups
held out of the training part (`benchmarks/recipes.py`)."""

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
    tile: int | None = None,
    device: torch.device | str = "cpu",
    **cleaning: Unpack[Cleaning],
) -> Segmentation:
    """The nuclei of an image (y, x), in its stored dtype.

    network : as folded by `folding.fold`, on the device.
    diameter : of the typical nucleus, in pixels. The network sees the image magnified to `network.diameter`. ESTIMATED:
        the diameter is read from reduced images (`sizes.estimate_size`), and within SIZE_TOLERANCE of the network's own
        the image stays as it is; for a network without a diameter, and for None, it is used at its own scale.
    tile : see `tiling.predict_mosaic`.
    cleaning : settings of `instances.nuclei`. Touching nuclei are separated by `instances.parted_nuclei`.

    Raises InputError if the image is too small for the network, a tile is too large for the memory of the GPU, or a
    diameter is given for a network without one.
    """
    target = target_of(network.target)
    statistics = normalization_statistics(image, method=network.normalization)
    used, estimate = 1.0, None
    if isinstance(diameter, float | int):
        used = fitting_magnification(network, diameter, image.shape)
    try:
        if diameter == ESTIMATED and network.diameter is not None:
            shape = (int(image.shape[0]), int(image.shape[1]))
            estimate = estimate_size(network, normalized(image, None, statistics), shape, device)
            used = fitting_magnification(network, estimate.diameter, image.shape)
            reached = used * estimate.diameter / network.diameter
            outside = not math.isnan(reached) and not 1 / SIZE_TOLERANCE < reached < SIZE_TOLERANCE
            estimate = replace(estimate, at_limit=outside)
            if 1 / SIZE_TOLERANCE < used < SIZE_TOLERANCE:
                used = 1.0  # near enough, and every pixel stays what it is
        maps = predict_mosaic(network, image, tile=tile, device=device, magnification=used, statistics=statistics)
    except torch.OutOfMemoryError as error:
        smaller = 1024 if tile is None else tile // 2
        raise InputError(f"the GPU's memory is too small: try tiles of {smaller} pixels") from error
    codes, probability = target.codes(maps), target.probability(maps)
    labels = parted_nuclei(codes, network.target)  # all nuclei count for the size, also those left out in the end
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
