"""Stacks of images in OME-Zarr 0.5: the only module that writes or reads them.

A *store* is a Zarr group; each *array* in it (named such as `fluorescence/256x256`) is an OME-Zarr image with one
resolution level and axes (n, y, x), where n counts images. A chunk is one image, a shard (one file) is many.
Axis n has no type: it is neither space nor time nor channel.
"""

import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import zarr
from ngio import AxesSetup, create_empty_ome_zarr
from zarr.codecs import ZstdCodec

from equinuclei.errors import InputError, reading
from equinuclei.omezarr.metadata import (
    REMEDY,
    changed_metadata,
    open_array,
    pixel_size_of,
    read_attributes,
    read_metadata,
)

_ROWS_AT_ONCE = 16  # images
SHARD_BYTES = 150_000_000  # uncompressed

# On 8- and 16-bit micrographs level 3 saves 2 to 6 % over level 1 and writes some 200 MB/s per core; levels 5 to 12
# save at most 7 % more at a tenth to half of that speed. Reading is equally fast at every level.
ZSTD_LEVEL = 3

_LEVEL = "0"
_LARGEST_IMAGE = 2**32  # pixels of an image of a data set
_PATH_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_modalities(modalities: Iterable[str]) -> None:
    """Check that modalities can name folders of a store.

    Raises
    ------
    InputError
        Naming those that cannot.
    """
    unusable = [repr(name) for name in dict.fromkeys(modalities) if not _is_path_part(name)]
    if unusable:
        raise InputError(
            f"modality {', '.join(unusable)}: use letters, digits, '.', '_' and '-', first a letter or a digit; "
            "a modality names a folder of the store."
        )


def plan_stacks(images: pd.DataFrame) -> pd.DataFrame:
    """Decide which array and row every image goes to.

    Parameters
    ----------
    images
        Columns modality, height, width (pixels) and dtype (name), and any others.

    Returns
    -------
    pandas.DataFrame
        The same rows in the same order, with the columns `array`, "<modality>/<height>x<width>" (followed by
        "-<dtype>" where images of that modality and shape differ in dtype), and `row`, which counts from 0 in the
        order of the table.

    Raises
    ------
    InputError
        If a modality cannot name a folder.
    """
    check_modalities(images["modality"])
    planned = images.copy()
    array = images["modality"] + "/" + images["height"].astype(str) + "x" + images["width"].astype(str)
    dtypes = images["dtype"].astype(str)
    mixed = dtypes.groupby(array).transform("nunique") > 1
    planned["array"] = array.where(~mixed, array + "-" + dtypes)
    planned["row"] = planned.groupby("array").cumcount().astype("int64")
    return planned


def shard_rows(height: int, width: int, itemsize: int, count: int) -> int:
    """Images per shard: as many as make `SHARD_BYTES`, at least 1 and at most `count`.

    `height` and `width` are in pixels, `itemsize` in bytes per pixel.
    """
    return max(1, min(count, SHARD_BYTES // (height * width * itemsize)))


def create_store(path: str | Path, attributes: Mapping) -> None:
    """Create the group that holds the arrays, or keep it if it is there, and set its attributes (plain values)."""
    zarr.open_group(Path(path), mode="a", zarr_format=3).attrs.update(dict(attributes))


def store_attributes(path: str | Path) -> dict:
    """Attributes of a store; empty if there is no store at `path`."""
    if not (Path(path) / "zarr.json").is_file():
        return {}
    return read_attributes(Path(path))


def create_stack(
    store_path: str | Path,
    array: str,
    count: int,
    height: int,
    width: int,
    dtype: str | np.dtype,
    pixel_size: float | None = None,
) -> zarr.Array:
    """Create an array for `count` images, replacing what stands under its name.

    Parameters
    ----------
    store_path, array
        The store, created if missing, and the name of the array in it, parts separated by "/".
    count, height, width
        Shape (n, y, x).
    dtype
        Pixel type: an integer type, float32, or bool.
    pixel_size
        Micrometres per pixel in y and x. If None, the axes have no unit and a scale of 1.

    Returns
    -------
    zarr.Array
        Shape (n, y, x), writable, all zero. Chunks (1, y, x), sharded by `shard_rows`, zstd with a checksum.

    Raises
    ------
    ValueError
        If a part of `array` cannot stand in a path, or the shape is empty.
    """
    parts = array.split("/")
    if not all(map(_is_path_part, parts)):
        raise ValueError(f"array {array!r} cannot be a path in a store")
    if min(count, height, width) < 1:
        raise ValueError(f"array {array!r}: shape ({count}, {height}, {width}) is empty")
    dtype = np.dtype(dtype)
    # Zarr 3 knows no implicit groups: without these, listing the store would not find the array.
    group = zarr.open_group(Path(store_path), mode="a", zarr_format=3)
    for part in parts[:-1]:
        group = group.require_group(part)
    path = Path(store_path, array)
    create_empty_ome_zarr(
        path,
        shape=(count, height, width),
        pixelsize=1.0 if pixel_size is None else pixel_size,
        axes_names=["n", "y", "x"],
        axes_setup=AxesSetup(others=["n"], allow_non_canonical_axes=True),
        levels=1,
        dtype=dtype.name,
        chunks=(1, height, width),
        shards=(shard_rows(height, width, dtype.itemsize, count), height, width),
        compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
        ngff_version="0.5",
        overwrite=True,
    )
    _correct_axes(path, with_unit=pixel_size is not None)
    return zarr.open_array(path / _LEVEL, mode="r+")


def _correct_axes(image: Path, *, with_unit: bool) -> None:
    """ngio makes every axis that it does not know a spatial one, and always writes a unit."""
    with changed_metadata(image) as metadata:
        axes = metadata["multiscales"][0]["axes"]
        del axes[0]["type"]
        if not with_unit:
            for axis in axes[1:]:
                del axis["unit"]


def write_stack(stack: zarr.Array, read: Callable[[int], np.ndarray], workers: int) -> None:
    """Write all images of an array, then read every shard back and compare checksums.

    Parameters
    ----------
    stack
        A writable array of `create_stack`, (n, y, x).
    read
        Returns the image of a row, (y, x) of the array's dtype. It is called once per row, from several threads.
    workers
        Threads. At most as many shards are in memory at once, each uncompressed and up to twice compressed.

    Raises
    ------
    ValueError
        If `read` returns another shape or dtype.
    RuntimeError
        If what is read back differs from what `read` returned.
    """
    count, height, width = stack.shape
    rows = _rows_per_shard(stack)
    checksums = np.zeros(count, np.uint32)

    # One task writes one whole shard. dask.array.store and to_zarr cut blocks without regard to shards (to_zarr where a
    # shard is larger than the setting array.chunk-size, 128 MiB), and tasks that share a shard lose each other's
    # pixels (https://github.com/dask/dask/issues/12583).
    @dask.delayed(pure=False)
    def write_shard(start: int) -> None:
        block = np.empty((min(rows, count - start), height, width), stack.dtype)

        def fill(row: int) -> None:
            image = read(row)
            if image.shape != (height, width) or image.dtype != stack.dtype:
                raise ValueError(
                    f"row {row} is {image.dtype} {image.shape}, expected {stack.dtype} ({height}, {width})"
                )
            block[row - start] = image
            checksums[row] = _checksum(image)

        # The rows of a shard are read in parallel too: often one shard holds them all.
        list(readers.map(fill, range(start, start + len(block))))
        stack[start : start + len(block)] = block

    @dask.delayed(pure=False)
    def verify_shard(start: int) -> None:
        _verify(stack, start, checksums[start : start + rows])

    # Zarr builds its thread pool at its first use; within a job that is here.
    limits = zarr.config.set({"async.concurrency": workers, "threading.max_workers": workers})
    with limits, dask.config.set(scheduler="threads", num_workers=workers), ThreadPoolExecutor(workers) as readers:
        for task in (write_shard, verify_shard):
            dask.compute(*[task(start) for start in range(0, count, rows)])


def write_rows(stack: zarr.Array, start: int, block: np.ndarray) -> None:
    """Write consecutive images that fill whole shards, and read them back.

    Parameters
    ----------
    stack
        A writable array of `create_stack`, (n, y, x); `stack.shards[0]` is its number of images per shard.
    start
        Row of the first image: the first of a shard.
    block
        Images, (n, y, x) of the array's dtype; the last one ends a shard or the array.

    Raises
    ------
    ValueError
        If the block begins or ends inside a shard, or differs from the array in shape or dtype.
    RuntimeError
        If what is read back differs from `block`.
    """
    rows, stop = _rows_per_shard(stack), start + len(block)
    if block.dtype != stack.dtype or block.shape[1:] != stack.shape[1:] or not 0 <= start < stop <= stack.shape[0]:
        raise ValueError(f"{block.dtype} {block.shape} from row {start} does not fit into {stack.dtype} {stack.shape}")
    if start % rows or (stop % rows and stop != stack.shape[0]):
        raise ValueError(f"rows {start} to {stop - 1} are not whole shards of {rows} rows")
    stack[start:stop] = block
    _verify(stack, start, np.array([_checksum(image) for image in block], np.uint32))


def open_stack(store_path: str | Path, array: str) -> zarr.Array:
    """Open an array (n, y, x) for reading.

    Raises
    ------
    InputError
        If the store or the array is not there.
    """
    path = Path(store_path, array, _LEVEL)
    if not (path / "zarr.json").is_file():
        if not Path(store_path).exists():
            raise InputError(f"store {store_path} does not exist.")
        raise InputError(f"store {store_path} has no array {array!r}: was it made from the same fields.tsv?")
    return open_array(path)


def read_row(stack: zarr.Array | str | Path, row: int) -> np.ndarray:
    """One image, (y, x), of an array or of the path `<store>/<array>`.

    Raises
    ------
    InputError
        If there is no array at the path, or a damaged one.
    IndexError
        If the array has no such row.
    """
    if not isinstance(stack, zarr.Array):
        stack = open_stack(Path(stack).parent, Path(stack).name)
    if not 0 <= row < stack.shape[0]:
        raise IndexError(f"row {row} of {stack.shape[0]}")
    with reading(f"{stack.store_path}, row {row}", REMEDY):
        _check_claim(stack)
        return np.asarray(stack[row])


def read_rows(stack: zarr.Array, rows: Sequence[int], workers: int = 2) -> list[np.ndarray]:
    """Images (y, x) of the rows of an array, in the order of `rows`.

    Neighbouring rows are read at once, in `workers` threads: twice as fast as row by row.
    """
    order = np.argsort(rows, kind="stable")
    ascending = np.asarray(rows)[order]
    breaks = np.flatnonzero(np.diff(ascending) != 1) + 1
    runs = [
        run[at : at + _ROWS_AT_ONCE] for run in np.split(ascending, breaks) for at in range(0, len(run), _ROWS_AT_ONCE)
    ]
    with ThreadPoolExecutor(workers) as pool:
        blocks = pool.map(lambda run: np.asarray(stack[int(run[0]) : int(run[-1]) + 1]), runs)
        with reading(str(stack.store_path), REMEDY):
            images = [image for block in blocks for image in block]
    found: list = [None] * len(images)
    for place, image in zip(order, images, strict=True):
        found[place] = image
    return found


def read_pixel_size(store_path: str | Path, array: str) -> float | None:
    """Micrometres per pixel of an array, None if unknown. Raises InputError for damaged metadata."""
    path = Path(store_path, array)
    metadata = read_metadata(path)
    with reading(path, REMEDY):
        return pixel_size_of(metadata)


def _check_claim(stack: zarr.Array) -> None:
    """Raise ValueError for chunks that are not images: damaged metadata can make them of any size."""
    if stack.ndim != 3 or stack.chunks != (1, *stack.shape[1:]) or math.prod(stack.shape[1:]) > _LARGEST_IMAGE:
        raise ValueError(f"shape {stack.shape}, chunks {stack.chunks}")


def _is_path_part(name: str) -> bool:
    return _PATH_PART.fullmatch(name) is not None and name != "zarr.json"


def _rows_per_shard(stack: zarr.Array) -> int:
    if stack.shards is None:
        raise ValueError(f"{stack.store_path} has no shards: it is not an array of `create_stack`")
    return stack.shards[0]


def _checksum(image: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(image).data)


def _verify(stack: zarr.Array, start: int, checksums: np.ndarray) -> None:
    for row, image in enumerate(np.asarray(stack[start : start + len(checksums)]), start):
        if _checksum(image) != checksums[row - start]:
            raise RuntimeError(f"{stack.store_path}: row {row} was not stored as it was read")
