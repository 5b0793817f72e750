"""Turning a prediction into labelled nuclei."""

from functools import partial
from typing import TypedDict, Unpack

import numpy as np
from scipy import ndimage

from equinuclei.images.watershed import find_seeds, grow_seeds
from equinuclei.specs import INSTANCES, TARGETS


def connected_components(mask: np.ndarray, min_area: int = 0) -> np.ndarray:
    """Label the connected foreground regions of a mask.

    Connectivity is 1: a pixel is connected to the four neighbours that share an edge with it. Two nuclei that touch at
    a corner only stay two objects; with connectivity 2, this single contact would merge them. Under rotations by 90
    degrees and mirroring, the regions stay the same and only their numbers change.

    Parameters
    ----------
    mask: bool (y, x).
    min_area: regions with fewer pixels are removed. 0 and 1 keep all.

    Returns
    -------
    int32 (y, x): 0 is background, objects are 1, 2, ... without gaps, in the order of a scan by rows.

    Raises ValueError if `mask` is not a two-dimensional bool array, or `min_area` is negative.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2:
        raise ValueError(f"a mask is a bool array (y, x), not {mask.dtype} with shape {mask.shape}")
    if min_area < 0:
        raise ValueError(f"min_area is a number of pixels, not {min_area}")
    labels, count = ndimage.label(mask, structure=ndimage.generate_binary_structure(2, 1), output=np.int32)
    if min_area > 1 and count:
        keep = np.bincount(labels.ravel(), minlength=count + 1) >= min_area
        keep[0] = False
        labels = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    return labels


NECK = 0.85
"""Nuclei are separated if the neck between them is narrower than this fraction of the smaller one's radius."""

NECK_DEPTH = 1.0
"""Pixels by which a neck must at least be narrower than the radius. Less is the roughness of a pixel outline."""

PREDICTED_NECK = 0.75
"""Nuclei are separated if the predicted distance between them falls below this fraction of the smaller maximum."""

PREDICTED_NECK_DEPTH = 30
"""How much it must fall at least, in steps of 1/255. Less is the network's uncertainty."""

PREDICTED_PEAK = 75
"""Predicted distance, in steps of 1/255, that a nucleus must reach somewhere. A true one has 255 at its centre."""

PREDICTED_SHELL = 8
"""Thickness of the shells in which nuclei grow from their centre, in steps of 1/255 of predicted distance."""


def split_touching(
    mask: np.ndarray, *, neck: float = NECK, neck_depth: float = NECK_DEPTH, min_area: int = 0
) -> np.ndarray:
    """Label the nuclei of a mask and separate touching ones, by a seeded watershed of the distance to the background.

    The watershed has no preferred direction (`equinuclei.images.watershed`): a rotated or mirrored mask yields the
    rotated or mirrored partition, pixel by pixel. Distances are exact squared integers. A peak of the distance, of
    height r (the radius there), is a nucleus if no higher peak can be reached from it without descending to
    min(neck * r, r - neck_depth) or below. From these peaks nuclei grow in steps of one pixel of distance.

    Pixels outside the image do not count as background: a nucleus cut by the border may have its peak at the border.

    Parameters
    ----------
    mask : bool (y, x).
    neck : fraction of the radius, 0 (separate nothing) to 1.
    neck_depth : pixels, not negative.
    min_area : nuclei with fewer pixels are removed. 0 and 1 keep all.

    Returns
    -------
    int32 (y, x): 0 is background, nuclei are 1, 2, ... without gaps, in the order of a scan by rows. Each nucleus is
    one region that is connected through edges; nuclei may touch.

    Raises ValueError as `connected_components` does, and if `neck` or `neck_depth` is out of range.
    """
    mask = np.asarray(mask)
    regions = connected_components(mask)
    _check_necks(neck, neck_depth)
    squared = _squared_distance(mask)
    seeds = find_seeds(regions, squared, partial(_floor_of_radius, neck=neck, neck_depth=neck_depth))
    return _renumber(grow_seeds(regions, seeds, squared, np.sqrt(squared).astype(np.int64)), min_area)


def split_by_distance(
    codes: np.ndarray,
    *,
    neck: float = PREDICTED_NECK,
    neck_depth: int = PREDICTED_NECK_DEPTH,
    peak: int = PREDICTED_PEAK,
) -> np.ndarray:
    """Label nuclei from the predicted distance to their borders, by the same watershed as `split_touching`.

    The distance also distinguishes nuclei from specks of foreground: regions where it stays low are left out, whatever
    their size.

    Parameters
    ----------
    codes : uint8 (y, x): 0 is background; elsewhere, the distance to the border of the nucleus that a pixel belongs to,
        relative to the nucleus' maximum, in steps of 1/255.
    neck, neck_depth : a peak of height d is a nucleus if no higher peak can be reached from it without descending to
        min(neck * d, d - neck_depth) or below. A fraction from 0 to 1, and steps of 1/255.
    peak : nuclei whose largest code is below this are left out.

    Returns and raises as `split_touching` does.
    """
    codes = _checked_codes(codes)
    _check_necks(neck, neck_depth)
    regions = connected_components(codes > 0)
    seeds = find_seeds(regions, codes, partial(_floor_of_height, neck=neck, neck_depth=neck_depth))
    shells = -(-codes.astype(np.int64) // PREDICTED_SHELL)
    labels = grow_seeds(regions, seeds, codes, shells)
    highest = np.zeros(int(labels.max(initial=0)) + 1, np.uint8)
    np.maximum.at(highest, labels, codes)
    return _renumber(np.where(highest[labels] >= peak, labels, 0), 0)


def split_by_border(codes: np.ndarray, *, watershed: bool = False) -> np.ndarray:
    """Label nuclei from predicted classes: connected regions of the nucleus class, grown into the border class.

    All regions grow together, one pixel at a time through edges, as in `watershed.grow_seeds`. Connected border without
    any nucleus pixel becomes a nucleus of its own.

    Parameters
    ----------
    codes : uint8 (y, x): 0 background, 1 border, 2 nucleus.
    watershed : first separate touching regions of the nucleus class with `split_touching`.

    Returns as `split_touching` does. Raises ValueError for other codes.
    """
    codes = _checked_codes(codes)
    if codes.max(initial=0) > 2:
        raise ValueError(f"class codes are 0, 1 and 2, not {codes.max()}")
    middle = codes == 2
    seeds = split_touching(middle) if watershed else connected_components(middle)
    # Pixels that a tie in the watershed left unassigned count as border.
    regions = connected_components(codes > 0)
    return _renumber(grow_seeds(regions, seeds, _squared_distance(middle), np.ones_like(seeds)), 0)


class Cleaning(TypedDict, total=False):
    """Settings of `nuclei` on which nuclei to leave out, and on their holes."""

    min_area: int
    fill_holes: bool
    exclude_border: bool


def nuclei(
    codes: np.ndarray,
    target: str,
    method: str | None = None,
    *,
    border_as: str = "nucleus",
    min_area: int = 0,
    fill_holes: bool = False,
    exclude_border: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask and labelled nuclei of a prediction.

    Parameters
    ----------
    codes : uint8 (y, x), prediction codes of a target (`equinuclei.networks.targets`).
    target : "binary", "distance" or "three_class".
    method : "components", connected regions (for three classes, those of the nucleus class); or "watershed", which
        separates touching nuclei by the predicted distance if there is one, and otherwise by the shape of the mask.
        None: watershed for the target distance, components for others.
    border_as : "nucleus", or "background" if the truth excludes the border class from the nuclei.
    min_area : nuclei with fewer pixels are left out.
    fill_holes : background that is enclosed by one nucleus becomes part of it.
    exclude_border : nuclei that touch the border of the image are left out.

    Returns
    -------
    bool (y, x) and int32 (y, x): the predicted foreground, and the nuclei 1, 2, ... in the order of a scan by rows. The
    last three settings apply to the nuclei only. Both results commute with rotating and mirroring the codes, except for
    the order of the numbers.

    Raises ValueError for an unknown target, method or `border_as`, and if codes are not uint8 (y, x).
    """
    known = {target: TARGETS, method or INSTANCES[0]: INSTANCES, border_as: ("nucleus", "background")}
    for value, values in known.items():
        if value not in values:
            raise ValueError(f"{value!r} is not one of {', '.join(values)}")
    codes = _checked_codes(codes)
    with_border = target != "three_class" or border_as == "nucleus"
    mask = codes > 0 if with_border else codes == 2
    watershed = method == "watershed" or (method is None and target == "distance")
    if target == "distance" and watershed:
        labels = split_by_distance(codes)
    elif target == "three_class" and with_border:
        labels = split_by_border(codes, watershed=watershed)
    else:
        labels = split_touching(mask) if watershed else connected_components(mask)
    if fill_holes:
        labels = _without_holes(labels)
    if exclude_border:
        labels = np.where(np.isin(labels, _border_values(labels)), 0, labels)
    return mask, _renumber(labels, min_area)


def parted_nuclei(codes: np.ndarray, target: str, **cleaning: Unpack[Cleaning]) -> np.ndarray:
    """The labels of `nuclei`, int32 (y, x), with touching nuclei separated: for plates and folders of images.

    The method is watershed, except that three classes use components: there the border class separates nuclei.
    """
    method = "components" if target == "three_class" else "watershed"
    return nuclei(codes, target, method, **cleaning)[1]


def _without_holes(labels: np.ndarray) -> np.ndarray:
    """Labels, int32 (y, x), where background enclosed by one nucleus has become part of it.

    Background is connected through corners too, because nuclei are connected through edges only. A region that touches
    the border of the image or several nuclei is not a hole.
    """
    holes, count = ndimage.label(labels == 0, structure=np.ones((3, 3), bool))
    lowest, highest = np.full(count + 1, np.iinfo(np.int32).max), np.zeros(count + 1, np.int32)
    for hole, label in ((holes, labels), (holes.T, labels.T)):
        for here, there in ((hole[1:], label[:-1]), (hole[:-1], label[1:])):
            beside = (here > 0) & (there > 0)
            np.minimum.at(lowest, here[beside], there[beside])
            np.maximum.at(highest, here[beside], there[beside])
    owner = np.where(lowest == highest, highest, 0)
    owner[_border_values(holes)] = 0
    return np.where(labels == 0, owner[holes], labels)


def _border_values(labels: np.ndarray) -> np.ndarray:
    """The values along the border of an image."""
    return np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])


def _squared_distance(mask: np.ndarray) -> np.ndarray:
    """Squared distance to the background, int64 (y, x), in square pixels, 0 there; 1 everywhere without background."""
    if mask.all():
        return np.ones(mask.shape, np.int64)
    # The square root of an integer, squared and rounded, is that integer.
    return np.rint(ndimage.distance_transform_edt(mask) ** 2).astype(np.int64)


def _floor_of_radius(squared: np.ndarray, neck: float, neck_depth: float) -> np.ndarray:
    radius = np.sqrt(squared)
    floor = _floor_of_height(radius, neck, neck_depth)
    return np.where(floor < 0, -1.0, floor**2)  # squared, as the distances are


def _floor_of_height(height: np.ndarray, neck: float, neck_depth: float) -> np.ndarray:
    return np.minimum(neck * height, height - neck_depth)


def _check_necks(neck: float, neck_depth: float) -> None:
    if not 0 <= neck <= 1 or not neck_depth >= 0:
        raise ValueError(f"neck must be 0 to 1 and neck_depth not negative, not {neck} and {neck_depth}")


def _checked_codes(codes: np.ndarray) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.dtype != np.uint8 or codes.ndim != 2:
        raise ValueError(f"prediction codes are a uint8 array (y, x), not {codes.dtype} with shape {codes.shape}")
    return codes


def _renumber(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Labels 1, 2, ... in the order of a scan by rows, without regions of fewer than `min_area` pixels.

    Raises ValueError if `min_area` is negative.
    """
    if min_area < 0:
        raise ValueError(f"min_area is a number of pixels, not {min_area}")
    flat = labels.ravel()
    area = np.bincount(flat)
    place = np.flatnonzero(flat)[::-1]
    first = np.full(area.size, flat.size, np.int64)
    first[flat[place]] = place  # written backwards, so that the first pixel in the scan remains
    keep = np.flatnonzero((area >= max(1, min_area)) & (np.arange(area.size) > 0))
    numbers = np.zeros(area.size, np.int32)
    numbers[keep[np.argsort(first[keep])]] = np.arange(1, keep.size + 1)
    return numbers[labels]
