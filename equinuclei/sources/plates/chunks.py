"""Whether all chunks of a Zarr array have come, or some were lost on the way.

A file that is not there reads as zeros (the fill value), and there are two reasons for it. Writers may leave out chunks
that hold nothing else, or a copy broke off. What tells them apart, in this order:

1. A lower resolution of the image shows what was there.
2. Background goes on around it: all pixels that border a region of absent chunks are the fill value.
3. Where the same places are empty in every plane of the array, no microscope imaged them: a mosaic with gaps.

A chunk for which none of these holds was lost. A camera's pixels are hardly ever all 0 over a whole chunk.
"""

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy import ndimage

from equinuclei.claims import check_claim
from equinuclei.errors import InputError, reading
from equinuclei.sources.plates.chunk_claims import check_chunk
from equinuclei.sources.plates.planes import listed_path

_MOST_CHUNKS = 1_000_000  # of one plane: a side of 250,000 pixels, in chunks of 256
_MOST_PLANES = 100_000  # that are compared, where chunks are absent
_LARGEST_EMPTY = 2**30  # bytes of a plane of which no chunk is there


def lost_chunks(array: zarr.Array, path: Path, page: int) -> tuple[list[tuple[int, int]], int]:
    """Where files of a plane were lost, or came only in part, and how many files a plane has.

    array : (..., y, x), which lies at `path` on a file system; page : number of the plane, counted over its leading
    axes. The places are (row, column) in the grid of chunks; where chunks are sharded, the files are shards.
    """
    plane = _Plane(array, path, page)
    absent = plane.absent()
    shown = {place: _in_lower_resolution(plane, place) for place in absent}
    background = plane.background(absent)
    broken = {place for place in absent if plane.size(place) >= 0}
    lost = [place for place in absent if shown[place] or (shown[place] is None and place not in background)]
    if lost and not any(shown[place] for place in lost) and _empty_in_all_planes(array, path, page, absent):
        lost = []
    lost = sorted({*lost, *broken})
    return lost, len(plane.grid)


def check_chunks(array: zarr.Array, path: Path, page: int) -> None:
    """Check what a plane and its chunks claim to hold, before any is decoded.

    Raises InputError where that is not plausible; see `lost_chunks` for what it takes.
    """
    plane = _Plane(array, path, page)
    itemsize = array.dtype.itemsize
    held = sum(max(0, plane.size(place)) for place in plane.grid)
    claimed = itemsize * max(math.prod(array.shape[-2:]), math.prod(plane.sides))
    if held or claimed > _LARGEST_EMPTY:
        check_claim(f"{path}, plane {page}", claimed, held)
    for place in plane.grid:
        if plane.exists(place):
            check_chunk(array, plane.file(place), plane.index)


class _Plane:
    """The chunks of one plane of an array. Raises InputError if it claims more of them than any has."""

    def __init__(self, array: zarr.Array, path: Path, page: int) -> None:
        self.array, self.path = array, path
        self.index = tuple(int(at) for at in np.unravel_index(page, array.shape[:-2])) if array.ndim > 2 else ()
        self.sides = tuple(array.shards or array.chunks)
        self.rows, self.columns = (-(-array.shape[axis] // self.sides[axis]) for axis in (-2, -1))
        # A shard ends in an index, 16 bytes per chunk; zarr takes a shorter one for empty.
        self.least = (
            16 * math.prod(a // b for a, b in zip(self.sides, array.chunks, strict=True)) if array.shards else 1
        )
        if self.rows * self.columns > _MOST_CHUNKS:
            raise InputError(f"{path}: claims {self.rows * self.columns:,} chunks for a plane: its metadata is damaged")
        self.grid = list(product(range(self.rows), range(self.columns)))
        self._sizes: dict[tuple[int, int], int] = {}

    def exists(self, place: tuple[int, int]) -> bool:
        """Whether a chunk has a file that can hold it."""
        return self.size(place) >= self.least

    def size(self, place: tuple[int, int]) -> int:
        """Bytes of the file of a chunk, -1 if there is none. It is looked at once: a plane may have a million."""
        if place not in self._sizes:
            try:
                self._sizes[place] = self.file(place).stat().st_size
            except FileNotFoundError:
                self._sizes[place] = -1
        return self._sizes[place]

    @cached_property
    def lower(self) -> "_Plane | None":
        """This plane in the next lower resolution of its image; None if there is none."""
        found = _lower_resolution(self.path, self.array)
        if found is None:
            return None
        array, path = found
        return _Plane(array, path, int(np.ravel_multi_index(self.index, array.shape[:-2])) if self.index else 0)

    def file(self, place: tuple[int, int]) -> Path:
        """Where the file of a chunk is, or would be."""
        leading = tuple(at // side for at, side in zip(self.index, self.sides, strict=False))
        return self.path / self.array.metadata.encode_chunk_key((*leading, *place))

    def absent(self) -> list[tuple[int, int]]:
        return [place for place in self.grid if not self.exists(place)]

    def pixels(self, rows: slice, columns: slice) -> np.ndarray:
        selection: tuple[Any, ...] = (*self.index, rows, columns)
        return np.asarray(self.array[selection])

    def window(self, place: tuple[int, int]) -> tuple[slice, slice]:
        starts = [at * side for at, side in zip(place, self.sides[-2:], strict=True)]
        ends = [
            min(start + side, size)
            for start, side, size in zip(starts, self.sides[-2:], self.array.shape[-2:], strict=True)
        ]
        return slice(starts[0], ends[0]), slice(starts[1], ends[1])

    def background(self, absent: list[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those absent chunks that lie in a region of them around which all pixels are the fill value."""
        mask = np.zeros((self.rows, self.columns), bool)
        for place in absent:
            mask[place] = True
        regions, count = ndimage.label(mask)
        found: set[tuple[int, int]] = set()
        for number in range(1, count + 1):
            places = [(int(row), int(column)) for row, column in np.argwhere(regions == number)]
            edges = [edge for place in places for edge in self._facing(place)]
            if edges and all((edge == self.array.fill_value).all() for edge in edges):
                found.update(places)
        return found

    def _facing(self, place: tuple[int, int]) -> Iterator[np.ndarray]:
        """The pixels of the neighbours that are there, along the edges of a chunk."""
        ys, xs = self.window(place)
        sides = {
            (-1, 0): (slice(ys.start - 1, ys.start), xs),
            (1, 0): (slice(ys.stop, ys.stop + 1), xs),
            (0, -1): (ys, slice(xs.start - 1, xs.start)),
            (0, 1): (ys, slice(xs.stop, xs.stop + 1)),
        }
        for (down, right), window in sides.items():
            neighbour = (place[0] + down, place[1] + right)
            if 0 <= neighbour[0] < self.rows and 0 <= neighbour[1] < self.columns and self.exists(neighbour):
                yield self.pixels(*window)


def _empty_in_all_planes(array: zarr.Array, path: Path, page: int, absent: list[tuple[int, int]]) -> bool:
    """Whether other planes lack the same chunks, and all have others."""
    count = math.prod(array.shape[:-2])
    if not 2 <= count <= _MOST_PLANES:
        return False
    others = (_Plane(array, path, other) for other in range(count) if other != page)
    return len(absent) < len(_Plane(array, path, page).grid) and all(plane.absent() == absent for plane in others)


def _in_lower_resolution(plane: _Plane, place: tuple[int, int]) -> bool | None:
    """Whether the next lower resolution shows anything where a chunk is absent; None if that cannot be seen."""
    reduced = plane.lower
    if reduced is None:
        return None
    # The pixels that lie in the chunk as a whole: those at its border show its neighbours too.
    ys, xs = (
        slice(-(-part.start * small // large), part.stop * small // large)
        for part, small, large in zip(
            plane.window(place), reduced.array.shape[-2:], plane.array.shape[-2:], strict=True
        )
    )
    if ys.start >= ys.stop or xs.start >= xs.stop:
        return None
    rows, columns = (
        range(part.start // side, (part.stop - 1) // side + 1)
        for part, side in zip((ys, xs), reduced.sides[-2:], strict=True)
    )
    if not all(reduced.exists(at) for at in product(rows, columns)):
        return None
    return bool((reduced.pixels(ys, xs) != reduced.array.fill_value).any())


def _lower_resolution(path: Path, array: zarr.Array) -> tuple[zarr.Array, Path] | None:
    """The array of the next lower resolution of the image that an array belongs to, with its folder."""
    try:
        with reading(path.parent):
            attributes: dict[str, Any] = zarr.open_group(path.parent, mode="r").attrs.asdict()
            levels = [str(one["path"]) for one in attributes.get("ome", attributes)["multiscales"][0]["datasets"]]
            below = Path(listed_path(path.parent, levels[levels.index(path.name) + 1], path.parent))
            lower = zarr.open_array(below, mode="r")
            check_chunks(lower, below, 0)
    except InputError:  # there is none, or its metadata are damaged: then it tells nothing
        return None
    return (lower, below) if lower.shape[:-2] == array.shape[:-2] else None
