"""A seeded watershed without a preferred direction.

The partition of a rotated or mirrored image is the rotated or mirrored partition, pixel by pixel. A watershed that
breaks ties by the order of a scan lacks this property. Here all decisions compare integers and sets of pixels.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as connected


def find_seeds(regions: np.ndarray, heights: np.ndarray, floor: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Seeds in connected regions: their peaks, if these are separated by deep enough valleys.

    A peak of height h is a seed if no higher peak can be reached from it without descending to floor(h) or below. The
    seed is the region above this level around the peak, so equal peaks of one region form one seed. These are the
    h-maxima of the heights (Soille, Morphological Image Analysis, 2nd edition, 2003, section 6.3.4), with an h that may
    depend on the peak.

    Parameters
    ----------
    regions : integer (y, x), numbers of regions that are connected through edges and do not touch each other; 0
        outside.
    heights : integer (y, x), not negative.
    floor : function from heights, int64 (n,), to levels, float (n,); negative where a peak is never a seed beside a
        higher one.

    Returns
    -------
    int32 (y, x): seeds 1, 2, ... in no particular order; 0 elsewhere. Every region has at least one.
    """
    inside, offsets = _framed(regions)
    pixels = np.flatnonzero(inside)
    seeds = np.zeros(regions.shape, np.int32)
    if pixels.size:
        flat = heights[regions > 0].astype(np.int64)
        seeds[regions > 0] = _seeds(pixels, flat, inside.size, offsets, floor)
    return seeds


def grow_seeds(regions: np.ndarray, seeds: np.ndarray, heights: np.ndarray, shells: np.ndarray) -> np.ndarray:
    """Grow seeds until they fill their regions.

    All seeds grow together through the pixels of the highest shell, then through those of the next, one step through
    edges at a time. A pixel that two seeds reach in the same step goes to the seed with the larger area, then the
    greater maximum, then the greater sum of heights. If all three are equal, as for mirror images, the pixel stays
    background: only a preferred direction could decide.

    Parameters
    ----------
    regions : as for `find_seeds`. A region with fewer than two seeds is a nucleus as a whole.
    seeds : integer (y, x), numbers of seeds, each within one region; 0 elsewhere.
    heights : integer (y, x), used inside the seeds.
    shells : integer (y, x), from 1 to a few tens inside the regions.

    Returns
    -------
    int32 (y, x): numbers of nuclei, with gaps; 0 is background.
    """
    labels, offsets = _framed(regions)
    where = regions > 0
    if where.any():
        flat = [array[where].astype(np.int64) for array in (heights, seeds, shells)]
        _grow(labels, np.flatnonzero(labels), flat[0], flat[1], flat[2], offsets)
    width = regions.shape[1] + 2
    return np.ascontiguousarray(labels.reshape(-1, width)[1:-1, 1:-1])


def _framed(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The regions in a frame of background, flattened (int32), and the offsets of a pixel's four neighbours.

    With the frame, neighbours need no check of bounds.
    """
    framed = np.pad(regions.astype(np.int32, copy=False), 1)
    return framed.ravel(), np.array([1, -1, framed.shape[1], -framed.shape[1]])


def _seeds(pixels: np.ndarray, heights: np.ndarray, size: int, offsets: np.ndarray, floor_of: Callable) -> np.ndarray:
    """The seed of every pixel, 1, 2, ... in no particular order; 0 outside seeds.

    Every pixel climbs to a peak along its highest neighbours. It does not matter which of several equal ones it takes:
    the highest pass between two peaks is the same, whichever basin the pixels in between belong to.
    """
    number = np.full(size, -1, np.int32)
    number[pixels] = np.arange(pixels.size, dtype=np.int32)
    neighbors = number[pixels + offsets[:, np.newaxis]]
    height = np.append(heights, -1)  # the last element, at index -1, stands for pixels outside the mask
    best = np.argmax(height[neighbors], axis=0)
    uphill = neighbors[best, np.arange(pixels.size)]
    climbs = height[uphill] > heights
    level = (height[neighbors[::2]] == heights) & (neighbors[::2] >= 0)
    # Plateaus: equal neighbours that cannot climb form one peak. A plateau next to a climbing pixel of its height is
    # joined to that pixel's peak below, by a pass as high as the plateau itself.
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
    while True:  # pointer jumping
        further = root[root]
        if np.array_equal(further, root):
            break
        root = further
    basin = plateau[place[root]]
    peak = np.zeros(count, np.int64)
    np.maximum.at(peak, plateau, heights[tops])
    floor = np.minimum(floor_of(peak), peak - 1)  # a peak lies above its own floor
    passes = _passes(basin, heights, neighbors, count)
    owner = _significant(peak, floor, passes)
    members = owner[basin]
    inside = (members >= 0) & (heights > floor[members])
    return np.where(inside, members + 1, 0)


def _passes(
    basin: np.ndarray, heights: np.ndarray, neighbors: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest pass between every two adjacent basins: (basin, other basin, height), in descending order."""
    keys, lower = [], []
    for towards in neighbors[::2]:
        here = np.flatnonzero(towards >= 0)
        a, b = basin[here], basin[towards[here]]
        differ = a != b
        here, a, b = here[differ], a[differ], b[differ]
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
        lower.append(np.minimum(heights[here], heights[towards[here]]))
    key, height = np.concatenate(keys), np.concatenate(lower)
    order = np.argsort(-height, kind="stable")
    key, height = key[order], height[order]
    _, first = np.unique(key, return_index=True)
    first.sort()
    return key[first] // count, key[first] % count, height[first]


def _significant(peak: np.ndarray, floor: np.ndarray, passes: tuple[np.ndarray, ...]) -> np.ndarray:
    """For every basin, the basin whose seed its peak belongs to, or -1.

    Basins are merged across their passes, from the highest pass down. When a merged basin meets one with an equal or
    higher peak at a pass above its floor, it becomes part of it. If the pass is not above its floor, it is a seed.
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
    # A seed's members: the basins that are reached over passes above its floor.
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


def _grow(
    labels: np.ndarray,
    pixels: np.ndarray,
    heights: np.ndarray,
    seeds: np.ndarray,
    shells: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Assign the pixels of regions with several seeds to these seeds, in place; see `grow_seeds`."""
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
    pixels, heights, seed, shell = pixels[open_], heights[open_], seed[open_], shells[open_]
    count = first.size
    area = np.bincount(seed, minlength=count + 1)
    highest = np.zeros(count + 1, np.int64)
    np.maximum.at(highest, seed, heights)
    total = np.zeros(count + 1, np.int64)
    np.add.at(total, seed, heights)
    _, rank = np.unique(np.stack([area, highest, total])[:, 1:], axis=1, return_inverse=True)
    rank = np.append(0, rank.ravel() + 1)
    owner = np.zeros(labels.size, np.int32)
    owner[pixels] = seed
    left = seed == 0
    waiting, shell = pixels[left], shell[left]
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
        # Pixels that no seed has reached yet, behind a narrow passage, wait for a shell farther out.
        waiting = np.concatenate([waiting, *rest])
        shell = np.concatenate([shell, np.full(sum(part.size for part in rest), depth - 1, np.int64)])
    labels[pixels] = np.where(owner[pixels] > 0, owner[pixels] + int(labels.max()), 0)
