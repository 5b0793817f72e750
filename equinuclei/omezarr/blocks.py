"""How the arrays of a plate are cut into chunks and shards, and how one level of a pyramid follows from the last."""

import math
from collections.abc import Iterator

import numpy as np
import zarr

from equinuclei.omezarr.metadata import NgffVersion
from equinuclei.omezarr.stacks import SHARD_BYTES

CHUNK = 512  # pixels; what a viewer or a tile reads at once
CHUNK_V2 = 2048  # pixels; without shards a chunk is a file
STEP = 4
"""How many times smaller each level of a pyramid is than the one above. A level takes two files of every well: half as
many levels as with steps of two."""

SMALLEST_LEVEL = 1024  # pixels; a level that fits into this has none below it
SMALLEST_LEVEL_OF_MAPS = 4096  # the same of labels and probabilities, which compress well: read at once, not in windows


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


def count_levels(height: int, width: int, smallest: int = SMALLEST_LEVEL) -> int:
    """Levels of the pyramid of an image of so many pixels: divided by `STEP` until it fits into `smallest`."""
    count = 1
    while max(height, width) > smallest and min(height, width) >= STEP:
        count, height, width = count + 1, height // STEP, width // STEP
    return count


def shrink(pixels: np.ndarray, step: int) -> np.ndarray:
    """Mean over step x step pixels of the last two axes; integers are rounded half up.

    step : a power of two. What is left of an axis whose length is no multiple of it is dropped.
    """
    height, width = (size // step * step for size in pixels.shape[-2:])
    wide: np.dtype = np.dtype(
        np.float64 if pixels.dtype.kind == "f" else np.uint32 if pixels.dtype.itemsize <= 2 else np.uint64
    )
    # Rows first, which lie side by side in memory.
    of_rows = pixels[..., 0:height:step, :width].astype(wide)
    for row in range(1, step):
        of_rows += pixels[..., row:height:step, :width]
    total = of_rows[..., ::step].copy()
    for column in range(1, step):
        total += of_rows[..., column::step]
    if pixels.dtype.kind == "f":
        return (total / step**2).astype(pixels.dtype)
    total += step**2 // 2
    total //= step**2
    return total.astype(pixels.dtype)
