"""The size of the nuclei in an image, estimated with the network that is to segment them, for a part of its cost.

A network that learnt nuclei of one size also finds those of a third to one and a half times this size, and tells what
it finds: the predicted distance to the border reaches 1 at the centre of a whole nucleus, but not in a cluster of small
nuclei, nor in a lump of a large one. So the image is looked at through a pyramid of reduced levels, coarse ones first,
and the first level that is clearly covered by nuclei of a readable size tells their diameter. It has a quarter of the
pixels of the final prediction, or fewer, and of a large level a few windows suffice.

Clearness is computed in integers from prediction codes, and windows lie symmetrically, so a turned image has the same
estimate wherever its codes are the turned ones.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from equinuclei.images.instances import parted_nuclei
from equinuclei.images.interpolation import Interpolation, Read
from equinuclei.images.rescaling import typical_diameter
from equinuclei.inference.whole_images import predict_maps
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of

LEVELS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2)
"""Magnifications at which an image is looked at. Nuclei of a third of the network's diameter are readable at the last;
those of six times the largest readable ones, and more, at the first."""

READABLE = (1 / 3, 1.5)
"""Least and greatest readable diameter, relative to the network's. All constants here were chosen on images of
the training part, one per group, magnified 0.5 to 8 times, with a network that had learnt from them."""

CLEAR = 0.7
"""Clearness at which a level is believed. True nuclei of a readable size have 0.85 to 0.95, clusters of unreadably
small ones and lumps of large ones 0.6 at most, usually 0 to 0.4."""

PLAUSIBLE = 0.4
"""Least clearness at which the best level is followed where none is clear. Noise has less."""

LARGE = 4
"""From this multiple of the network's diameter on, finer levels are looked at as well: what seems a large nucleus may
be all that an image shows within a black frame. It costs little beside an image in which nuclei are so large."""

FINER_CLEAR = 0.75
"""Clearness at which a finer level is believed rather than a coarser one that shows LARGE nuclei. Lumps of chromatin,
which are a quarter as large as nuclei, have 0.7 at most."""

FINER = 1 / 3
"""Factor by which nuclei must be smaller to be believed then."""

WINDOW = 128
"""Height and width of a window in a level, in pixels: ten nuclei across, where they are half as large as the network
likes them."""

MOST_WINDOWS = 3
"""Most windows along an axis of a level; as many along the other one."""

RIVAL = 2
"""Factor by which a diameter must differ to be a rival of the estimated one."""

FEW = 5
"""With fewer readable nuclei in its windows, a level that is not clear is looked at as a whole, and a finer level not
believed."""


@dataclass(frozen=True)
class SizeEstimate:
    """What an image tells about the size of its nuclei.

    diameter : of the typical nucleus, in pixels of the image; NaN where no nuclei were recognised at any magnification.
    score : clearness of the level that told it, 0 to 1: which part of the foreground is nuclei of this size, weighted
        by how whole they seem to the network. From CLEAR on it is sure; 0 for a diameter of NaN.
    rival : the diameter that the next clearest level suggested, if it differs by RIVAL or more, in pixels of the image;
        NaN if there is none.
    agreement : how much clearer the choice is than the rival, 0 to 1: 1 where nothing speaks for a rival, 0 where it is
        as clear.
    at_limit : whether nuclei are so large or small that the image cannot be magnified as they would need.
    """

    diameter: float
    score: float
    rival: float
    agreement: float
    at_limit: bool


@dataclass(frozen=True)
class _Sight:
    """What a level shows. diameter : of its readable nuclei, in pixels of the image, NaN without any; nuclei : how many
    of them there are."""

    level: float
    diameter: float
    clearness: float
    nuclei: int


def estimate_size(
    network: SegmentationNetwork, read: Read, shape: tuple[int, int], device: torch.device | str = "cpu"
) -> SizeEstimate:
    """The size of the nuclei in an image of shape (y, x).

    network : with a diameter; as folded by `folding.fold`, on the device.
    read : reads normalised pixels of the image (`tiling.normalized`).

    The result does not say whether the image may be magnified as its nuclei need: `at_limit` is False.
    """
    looks = _Looks(network, read, shape, device)
    sights = list(looks.until_clear())
    best = max(sights, key=lambda sight: sight.clearness, default=None)
    if best is None or best.clearness < PLAUSIBLE:
        return SizeEstimate(math.nan, 0.0, math.nan, 1.0, at_limit=False)
    if best.diameter >= LARGE * looks.wanted:
        finer = [looks.at(level, most=2) for level in LEVELS if best.level < level <= 1]
        sights += finer
        for sight in finer:
            believed = sight.clearness >= FINER_CLEAR and sight.nuclei >= FEW
            if believed and sight.diameter < FINER * best.diameter:
                best = sight
    others = [s for s in sights if s.clearness > 0 and not 1 / RIVAL < s.diameter / best.diameter < RIVAL]
    rival = max(others, key=lambda sight: sight.clearness, default=None)
    return SizeEstimate(
        best.diameter,
        best.clearness,
        math.nan if rival is None else rival.diameter,
        1.0 if rival is None else max(0.0, 1 - rival.clearness / best.clearness),
        at_limit=False,
    )


class _Looks:
    """Looks at the levels of an image. wanted : the network's own diameter."""

    def __init__(
        self, network: SegmentationNetwork, read: Read, shape: tuple[int, int], device: torch.device | str
    ) -> None:
        if network.diameter is None:
            raise ValueError("the network has no size of its own")
        self.network, self.read, self.shape, self.device = network, read, shape, device
        self.wanted = network.diameter

    def until_clear(self) -> Iterator[_Sight]:
        """Coarse levels first, up to the first clear one. Small nuclei that are few are not missed between windows."""
        for level in LEVELS:
            if min(level_shape(self.shape, level)) < self.network.input_multiple:
                continue
            sight = self.at(level)
            if sight.clearness < CLEAR and sight.nuclei < FEW and level < 1:
                sight = self.at(level, most=None)
            yield sight
            if sight.clearness >= CLEAR:
                return

    def at(self, level: float, most: int | None = MOST_WINDOWS) -> _Sight:
        """What a level shows in at most `most` windows along each axis; None: as many as cover it."""
        seen = level_shape(self.shape, level)
        interpolation = Interpolation(self.shape, seen)
        areas, whole, foreground = [], [], 0
        for rows, columns in product(*(window_slices(size, most) for size in seen)):
            codes, certainty = self._predict(interpolation.window(self.read, rows, columns))
            labels = parted_nuclei(codes, self.network.target)
            foreground += int(np.count_nonzero(codes))
            areas.append(np.bincount(labels.ravel())[1:])
            whole.append(_highest(labels, codes) if self.network.target == "distance" else _mean(labels, certainty))
        area, part = np.concatenate(areas), np.concatenate(whole)
        least, greatest = (math.pi / 4 * (self.wanted * bound) ** 2 for bound in READABLE)
        readable = (area >= least) & (area <= greatest)
        clearness = int((area[readable] * part[readable]).sum()) / (255 * max(1, foreground))
        diameter = typical_diameter(np.repeat(np.arange(1, readable.sum() + 1), area[readable]))
        return _Sight(level, diameter / level, clearness, int(readable.sum()))

    @torch.inference_mode()
    def _predict(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prediction codes of a window, and how certain its foreground is, 0 to 255; uint8 (y, x)."""
        target = target_of(self.network.target)
        maps = predict_maps(self.network, torch.from_numpy(pixels)[None, None].to(self.device))[0].float().cpu().numpy()
        certainty = np.rint(255 * np.clip(2 * target.probability(maps) - 1, 0, 1)).astype(np.uint8)
        return target.codes(maps), certainty


def _highest(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The greatest of the values (uint8) of each object 1, 2, ..., int64."""
    highest = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    np.maximum.at(highest, labels, values)
    return highest[1:]


def _mean(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of the values (uint8) of each object 1, 2, ..., rounded down, int64. Sums of floats are exact here."""
    sums = np.bincount(labels.ravel(), values.ravel())[1:]
    return sums.astype(np.int64) // np.bincount(labels.ravel())[1:]


def level_shape(shape: tuple[int, int], level: float) -> tuple[int, int]:
    """Height and width of a level: even, so that pads and windows can lie symmetrically in it."""
    height, width = (2 * max(1, round(size * level / 2)) for size in shape)
    return height, width


def window_slices(size: int, most: int | None) -> list[slice]:
    """Windows along an axis of an even `size`, mirrored about its middle. Hardly longer than one, it is one itself.

    most : how many at most, which do not overlap. None: as many as cover all of the axis.
    """
    if size <= WINDOW * 5 // 4:
        return [slice(0, size)]
    count = -(-size // WINDOW) if most is None else min(size // WINDOW, most)
    starts = [((2 * number + 1) * size) // (2 * count) - WINDOW // 2 for number in range(count // 2)]
    if most is None:
        starts = [(size - WINDOW) * number // (count - 1) for number in range(count // 2)]
    middle = [(size - WINDOW) // 2] if count % 2 else []
    ends = [size - WINDOW - start for start in reversed(starts)]
    return [slice(start, start + WINDOW) for start in [*starts, *middle, *ends]]
