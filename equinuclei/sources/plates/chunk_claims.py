"""What a compressed chunk of a Zarr array expands to, told before it is expanded.

Decoders expand a chunk as far as it goes, and compare its size with that of the array's chunks afterwards: kilobytes
can become gigabytes. Of most codecs the first bytes tell; streams of zlib, gzip, bzip2 and LZMA are expanded piece by
piece as far as a chunk may go.
"""

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zarr

from equinuclei.claims import HARMLESS, size_in_words
from equinuclei.errors import InputError

_FILTERED = 8  # filters can store numbers as wider ones
_PIECE = 2**20  # bytes that are expanded at once
_NO_CHUNK = 2**64 - 1  # in the index of a shard


def check_chunk(array: zarr.Array, path: Path, inner: tuple[int, ...]) -> None:
    """Raise InputError if a chunk expands to far more than the chunks of its array hold.

    array : whose chunk or shard the file at `path` is; inner : first index of a plane within a shard, over the leading
    axes.
    """
    expected = max(HARMLESS, _FILTERED * math.prod(array.chunks) * array.dtype.itemsize)
    codec = _codec(array)
    with path.open("rb") as file:
        for start, length in _chunks_in(array, file, path.stat().st_size, inner):
            # Deflate expands a byte to 1032 at most; the others have a size in their head, or are told apart below.
            if codec in ("gzip", "zlib") and length * 1032 <= expected:
                continue
            file.seek(start)
            if (found := _expanded(file, codec, length, expected)) > expected:
                raise InputError(
                    f"{path}: expands to {size_in_words(found)} or more, and its array has chunks of "
                    f"{size_in_words(math.prod(array.chunks) * array.dtype.itemsize)}: it is damaged"
                )


def _codec(array: zarr.Array) -> str:
    """Name of the compressor of an array's chunks, "" if there is none."""
    metadata: Any = array.metadata
    if metadata.zarr_format == 2:
        return "" if metadata.compressor is None else str(metadata.compressor.codec_id)
    codecs = metadata.codecs
    if array.shards is not None:
        codecs = next((one.codecs for one in codecs if hasattr(one, "index_codecs")), ())
    names = [str(one.to_dict()["name"]).rpartition(".")[2] for one in codecs]
    return next((name for name in names if name in _EXPANDED), "")


def _chunks_in(array: zarr.Array, file: BinaryIO, size: int, inner: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Start and length of the chunks of a plane in a file: the whole file, or what the index at a shard's end says."""
    if array.shards is None:
        yield 0, size
        return
    counts = [shard // chunk for shard, chunk in zip(array.shards, array.chunks, strict=True)]
    index = 16 * math.prod(counts)
    file.seek(max(0, size - index - 4))  # its checksum follows
    places = np.frombuffer(file.read(index), "<u8").reshape(-1, 2)
    if len(places) != math.prod(counts):
        return
    leading = [at % shard // chunk for at, shard, chunk in zip(inner, array.shards, array.chunks, strict=False)]
    for row, column in product(range(counts[-2]), range(counts[-1])):
        start, length = map(int, places[np.ravel_multi_index((*leading, row, column), counts)])
        if start != _NO_CHUNK and start + length <= size:
            yield start, length


def _expanded(file: BinaryIO, codec: str, length: int, most: int) -> int:
    """Bytes that a chunk claims, or those up to somewhat more than `most` that it is expanded to."""
    return _EXPANDED[codec](file, length, most) if codec in _EXPANDED else 0


def _blosc(file: BinaryIO, _length: int, _most: int) -> int:
    return int.from_bytes(file.read(16)[4:8], "little")


def _lz4(file: BinaryIO, _length: int, _most: int) -> int:
    return int.from_bytes(file.read(4), "little")


def _zstd(file: BinaryIO, _length: int, _most: int) -> int:
    """The content size of a frame (RFC 8878, 3.1.1.1), 0 if it tells none."""
    head = file.read(18)
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    single, dictionary = head[4] >> 5 & 1, (0, 1, 2, 4)[head[4] & 3]
    size = (single, 2, 4, 8)[head[4] >> 6]
    start = 5 + (1 - single) + dictionary
    return int.from_bytes(head[start : start + size], "little") + (256 if size == 2 else 0)


def _stream(make: Callable[[], Any]) -> Callable[[BinaryIO, int, int], int]:
    def expanded(file: BinaryIO, length: int, most: int) -> int:
        decoder, total = make(), 0
        data = file.read(min(length, _PIECE))
        left = length - len(data)
        while total <= most and not decoder.eof:
            total += len(decoder.decompress(data, _PIECE))
            data = getattr(decoder, "unconsumed_tail", b"")
            if not data and getattr(decoder, "needs_input", True):
                data = file.read(min(left, _PIECE))
                left -= len(data)
                if not data:
                    break
        return total

    return expanded


_EXPANDED: dict[str, Callable[[BinaryIO, int, int], int]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "zstd": _zstd,
    "zlib": _stream(zlib.decompressobj),
    "gzip": _stream(lambda: zlib.decompressobj(wbits=31)),
    "bz2": _stream(bz2.BZ2Decompressor),
    "lzma": _stream(lzma.LZMADecompressor),
}
