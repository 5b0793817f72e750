"""From a prediction to labelled objects."""

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as connected


def connected_components(mask: np.ndarray, min_area: int = 0) -> np.ndarray:
    """Label the connected foreground regions of a mask.

    Connectivity is 1: a pixel joins the four neighbours that share an edge with it. Two nuclei whose outlines touch
    at a corner only stay two objects; with connectivity 2 that single contact would merge them. The choice
    also commutes with rotations by 90 degrees and mirror images: the regions are the same, only their numbers change.

    Parameters
    ----------
    mask: bool (y, x).
    min_area: regions of fewer pixels are removed. 0 and 1 keep everything.

    Returns
    -------
    int32 (y, x): 0 is background, objects are 1, 2, ... without gaps, in the order in which a scan by rows meets them.

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
"""Nuclei part where the neck between them is narrower than this share of the smaller one's radius."""

NECK_DEPTH = 1.0
"""The least that a neck must be narrower than the radius, in pixels: less is the roughness of a pixel outline."""


def split_touching(
    mask: np.ndarray, *, neck: float = NECK, neck_depth: float = NECK_DEPTH, min_area: int = 0
) -> np.ndarray:
    """Label the nuclei of a mask, parting those that touch: a seeded watershed of the distance to the background.

    The partition knows no direction: that of a turned or mirrored mask is the turned or mirrored partition, pixel by
    pixel. A watershed that breaks ties in the order of a scan is not of that kind. Here

    1. distances are exact squared integers, and all that follows depends on their order and on sets of pixels;
    2. a peak of the distance, of height r (the radius there), makes a seed where no higher peak can be reached from
       it without descending to min(neck * r, r - neck_depth) or below. The seed is the region above that level around
       the peak, so that equal peaks of one region make one seed. These are the h-maxima of the distance map (Soille,
       Morphological Image Analysis, 2nd edition, 2003, section 6.3.4), with an h that grows with the radius;
    3. seeds grow through the mask from the middle outwards, in steps of one pixel of distance to the background, and
       all at once. Of a pixel that two seeds reach in the same step, the one with the larger area, then the higher
       peak, then the larger sum of squared distances takes it. Where all three are equal, as between mirror images,
       the pixel stays background: nothing but a direction could decide.

    Beyond the image nothing is background: a nucleus that the border cuts has its middle at the border, maybe.

    Parameters
    ----------
    mask : bool (y, x).
    neck : share of the radius, 0 (part nothing) to 1.
    neck_depth : pixels, not negative.
    min_area : nuclei of fewer pixels are removed. 0 and 1 keep everything.

    Returns
    -------
    int32 (y, x): 0 is background, nuclei are 1, 2, ... without gaps, in the order in which a scan by rows meets them.
    Every nucleus is one region that is connected through edges; nuclei may touch.

    Raises ValueError as `connected_components` does, and for `neck` or `neck_depth` out of range.
    """
    mask = np.asarray(mask)
    regions = connected_components(mask)
    if not 0 <= neck <= 1 or not neck_depth >= 0:
        raise ValueError(f"neck is 0 to 1 and neck_depth not negative, not {neck} and {neck_depth}")
    if min_area < 0:
        raise ValueError(f"min_area is a number of pixels, not {min_area}")
    if not regions.any() or np.all(mask):  # all foreground: there is no background to be distant from
        return _renumber(regions, min_area)
    # A frame of background around flat arrays: a pixel's neighbours are at fixed offsets, and need no bounds.
    height, width = regions.shape
    labels = np.zeros((height + 2, width + 2), np.int32)
    labels[1:-1, 1:-1] = regions
    labels = labels.ravel()
    offsets = np.array([1, -1, width + 2, -width - 2])
    pixels = np.flatnonzero(labels)
    # The square root of an integer, squared and rounded, is that integer.
    squared = np.rint(ndimage.distance_transform_edt(mask)[mask] ** 2).astype(np.int64)
    seeds = _seeds(pixels, squared, labels.size, offsets, neck, neck_depth)
    _grow(labels, pixels, squared, seeds, offsets)
    return _renumber(labels.reshape(height + 2, width + 2)[1:-1, 1:-1], min_area)


def label_nuclei(logits: np.ndarray, min_area: int = 0) -> np.ndarray:
    """Labelled nuclei of logits (y, x), or of a mask, bool (y, x): `split_touching` of where the logit is above 0.

    Nuclei of fewer than `min_area` pixels are removed. Returns int32 (y, x), as `split_touching`.
    """
    logits = np.asarray(logits)
    return split_touching(logits if logits.dtype == bool else logits > 0, min_area=min_area)


def _seeds(
    pixels: np.ndarray, squared: np.ndarray, size: int, offsets: np.ndarray, neck: float, neck_depth: float
) -> np.ndarray:
    """The seed of every pixel, 1, 2, ... in no particular order; 0 for those outside of seeds.

    Every pixel climbs to a peak by its highest neighbours. Which of several it takes does not matter: the highest pass
    between two peaks is the same whichever basin a pixel on the way belongs to.
    """
    number = np.full(size, -1, np.int32)
    number[pixels] = np.arange(pixels.size, dtype=np.int32)
    neighbors = number[pixels + offsets[:, np.newaxis]]
    height = np.append(squared, -1)  # -1, outside of the mask, is the last
    best = np.argmax(height[neighbors], axis=0)
    uphill = neighbors[best, np.arange(pixels.size)]
    climbs = height[uphill] > squared
    level = (height[neighbors[::2]] == squared) & (neighbors[::2] >= 0)
    # Plateaus: equal neighbours of which none climbs are one peak. A plateau that touches a climber is joined to its
    # peak by a pass as high as itself, below.
    tops = np.flatnonzero(~climbs)
    place = np.full(pixels.size, -1, np.int64)
    place[tops] = np.arange(tops.size)
    flat = [(tops, neighbors[way, tops], level[half, tops]) for half, way in enumerate((0, 2))]
    links = [(a[ok], b[ok]) for a, b, ok in flat]
    first, second = (np.concatenate(ends) for ends in zip(*links, strict=True))
    both = place[second] >= 0
    first, second = place[first[both]], place[second[both]]
    count, plateau = connected(coo_array((np.ones(first.size, bool), (first, second)), (tops.size, tops.size)), False)
    root = np.where(climbs, uphill, np.arange(pixels.size))
    while True:
        further = root[root]
        if np.array_equal(further, root):
            break
        root = further
    basin = plateau[place[root]]
    peak = np.zeros(count, np.int64)
    np.maximum.at(peak, plateau, squared[tops])
    radius = np.sqrt(peak)
    floor = np.minimum(neck * radius, radius - neck_depth)
    # Squared, as the distances are; a negative floor is below every pixel, and a peak is above its own.
    floor = np.minimum(np.where(floor < 0, -1.0, floor**2), peak - 1)
    passes = _passes(basin, squared, neighbors, count)
    owner = _significant(peak, floor, passes)
    members = owner[basin]
    inside = (members >= 0) & (squared > floor[members])
    return np.where(inside, members + 1, 0)


def _passes(
    basin: np.ndarray, squared: np.ndarray, neighbors: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest pass between any two adjacent basins: (basin, other basin, squared distance), the highest first."""
    keys, heights = [], []
    for towards in neighbors[::2]:
        here = np.flatnonzero(towards >= 0)
        a, b = basin[here], basin[towards[here]]
        differ = a != b
        here, a, b = here[differ], a[differ], b[differ]
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
        heights.append(np.minimum(squared[here], squared[towards[here]]))
    key, height = np.concatenate(keys), np.concatenate(heights)
    order = np.argsort(-height, kind="stable")
    key, height = key[order], height[order]
    _, first = np.unique(key, return_index=True)
    first.sort()
    return key[first] // count, key[first] % count, height[first]


def _significant(peak: np.ndarray, floor: np.ndarray, passes: tuple[np.ndarray, ...]) -> np.ndarray:
    """For every basin the basin whose seed its peak belongs to, or -1.

    Basins are united by their passes, from the highest down. A union whose highest peak meets one as high or higher at
    a pass above its floor is part of that; at a pass that is no higher than its floor it has become a seed before.
    """
    parent = list(range(peak.size))

    def find(a: int) -> int:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    peaks, floors = peak.tolist(), floor.tolist()
    done = [False] * len(parent)
    seeds = []
    for a, b, height in zip(*(ends.tolist() for ends in passes), strict=True):
        a, b = find(a), find(b)
        if a == b:
            continue
        if peaks[a] < peaks[b]:
            a, b = b, a
        for end in (a, b) if peaks[a] == peaks[b] else (b,):
            if not done[end] and height <= floors[end]:
                done[end] = True
                seeds.append(end)
        done[a] = done[a] or (done[b] and peaks[a] == peaks[b])
        parent[b] = a
    seeds += [a for a in range(len(parent)) if parent[a] == a and not done[a]]
    # Members of a seed: what is reached over passes above its floor.
    near: dict[int, list[tuple[int, int]]] = {}
    for a, b, height in zip(*(ends.tolist() for ends in passes), strict=True):
        near.setdefault(a, []).append((b, height))
        near.setdefault(b, []).append((a, height))
    owner = np.full(peak.size, -1, np.int64)
    for seed in seeds:
        if owner[seed] >= 0:
            continue
        owner[seed] = seed
        stack = [seed]
        while stack:
            for other, height in near.get(stack.pop(), ()):
                if height > floors[seed] and owner[other] < 0:
                    owner[other] = seed
                    stack.append(other)
    return owner


def _grow(labels: np.ndarray, pixels: np.ndarray, squared: np.ndarray, seeds: np.ndarray, offsets: np.ndarray) -> None:
    """Give the pixels of regions with several seeds to these, in place; see `split_touching`."""
    region = labels[pixels]
    _, first, seed = np.unique(seeds, return_index=True, return_inverse=True)
    if not seeds.all():
        first = first[1:]
    else:
        seed = seed + 1
    several = np.bincount(region[first], minlength=int(region.max()) + 1) > 1
    open_ = several[region]
    if not open_.any():
        return
    pixels, squared, seed = pixels[open_], squared[open_], seed[open_]
    count = first.size
    area = np.bincount(seed, minlength=count + 1)
    highest = np.zeros(count + 1, np.int64)
    np.maximum.at(highest, seed, squared)
    total = np.zeros(count + 1, np.int64)
    np.add.at(total, seed, squared)
    _, rank = np.unique(np.stack([area, highest, total])[:, 1:], axis=1, return_inverse=True)
    rank = np.append(0, rank.ravel() + 1)
    owner = np.zeros(labels.size, np.int32)
    owner[pixels] = seed
    left = seed == 0
    waiting, shell = pixels[left], np.sqrt(squared[left]).astype(np.int64)
    for depth in range(int(shell.max(initial=0)), 0, -1):
        reached = shell >= depth
        ready, waiting, shell = waiting[reached], waiting[~reached], shell[~reached]
        rest = [np.empty(0, ready.dtype)]
        while ready.size:
            around = owner[ready + offsets[:, np.newaxis]]
            ranks = rank[around]
            top = ranks.max(axis=0)
            best = np.where(ranks == top, around, 0)
            winner = best.max(axis=0)
            split = (np.where(ranks == top, around, winner).min(axis=0) != winner) & (top > 0)
            owner[ready] = np.where(split, 0, winner)
            touched = top > 0
            if not touched.any():
                rest.append(ready)
                break
            ready = ready[~touched]
        # Parts of the mask that narrow before they widen wait for a shell farther out.
        waiting = np.concatenate([waiting, *rest])
        shell = np.concatenate([shell, np.full(sum(part.size for part in rest), depth - 1, np.int64)])
    labels[pixels] = np.where(owner[pixels] > 0, owner[pixels] + int(labels.max()), 0)


def _renumber(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Labels 1, 2, ... in the order in which a scan by rows meets them, without regions below `min_area`."""
    flat = labels.ravel()
    area = np.bincount(flat)
    place = np.flatnonzero(flat)[::-1]
    first = np.full(area.size, flat.size, np.int64)
    first[flat[place]] = place  # the last one written is the first in the scan
    keep = np.flatnonzero((area >= max(1, min_area)) & (np.arange(area.size) > 0))
    numbers = np.zeros(area.size, np.int32)
    numbers[keep[np.argsort(first[keep])]] = np.arange(1, keep.size + 1)
    return numbers[labels]
