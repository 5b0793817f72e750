"""How the arrays of a plate are cut into chunks and shards, and how one level of a pyramid follows from the last."""

import math
from collections.abc import Iterator

import numpy as np
import zarr

from equinuclei.omezarr.metadata import NgffVersion
from equinuclei.omezarr.stacks import SHARD_BYTES

CHUNK = 512  # pixels; what a viewer or a tile reads at once
CHUNK_V2 = 2048  # pixels; without shards a chunk is a file
SMALLEST_LEVEL = 512  # pixels; a level that fits into this has none below it


def chunks_of(shape: tuple[int, ...], version: NgffVersion) -> tuple[int, ...]:
    """Chunks of an array (..., y, x): squares of one plane, cut to the array."""
    edge = CHUNK if version == "0.5" else CHUNK_V2
    return (*(1 for _ in shape[:-2]), *(min(edge, size) for size in shape[-2:]))


def shards_of(
    shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int, *, has_time: bool = False
) -> tuple[int, ...]:
    """Shards of whole chunks: the whole array, or as much of its last axes as `SHARD_BYTES` holds.

    itemsize : bytes per pixel. has_time : the first axis is time, and each time point has shards of its own.
    """
    shard = list(chunks)
    for axis in reversed(range(1 if has_time else 0, len(shape))):
        room = SHARD_BYTES // (math.prod(shard) * itemsize)
        shard[axis] *= max(1, min(-(-shape[axis] // chunks[axis]), room))
        if shard[axis] < shape[axis]:
            break
    return tuple(shard)


def blocks(array: zarr.Array, at: tuple[int, ...] = ()) -> Iterator[tuple[slice, ...]]:
    """Regions that cover an array, in C order, each of whole shards (of whole chunks where there are no shards).

    Writers that share a shard would lose each other's pixels, so a task writes one or more of these regions.

    at : (time point,) for the regions of one time point of an array whose first axis is time.
    """
    itemsize = array.dtype.itemsize
    unit = array.shards or shards_of(array.shape, array.chunks, itemsize, has_time=bool(at))
    counts = [-(-size // step) for size, step in zip(array.shape[len(at) :], unit[len(at) :], strict=True)]
    for index in np.ndindex(*counts):
        spans = zip((*at, *index), unit, array.shape, strict=True)
        yield tuple(slice(number * step, min((number + 1) * step, size)) for number, step, size in spans)


def count_levels(height: int, width: int) -> int:
    """Levels of the pyramid of an image of so many pixels: halved until it fits into `SMALLEST_LEVEL`."""
    count = 1
    while max(height, width) > SMALLEST_LEVEL and min(height, width) >= 2:
        count, height, width = count + 1, height // 2, width // 2
    return count


def halve(pixels: np.ndarray) -> np.ndarray:
    """Mean over 2 x 2 pixels of the last two axes, of even length; integers are rounded half up."""
    first, *others = (pixels[..., y::2, x::2] for y in (0, 1) for x in (0, 1))
    if pixels.dtype.kind == "f":
        return ((first.astype(np.float64) + sum(others)) / 4).astype(pixels.dtype)
    wide: np.dtype = np.dtype(np.uint32 if pixels.dtype.itemsize <= 2 else np.uint64)
    total = first.astype(wide)
    for quarter in others:
        total += quarter
    total += 2
    total >>= 2
    return total.astype(pixels.dtype)
