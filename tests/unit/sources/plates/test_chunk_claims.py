"""Chunks that expand to gigabytes are refused before they do."""

import bz2
import gzip
import lzma
import resource
import zlib

import numcodecs
import numpy as np
import pytest
import zarr

from equinuclei.errors import InputError
from equinuclei.sources.plates.chunk_claims import check_chunk
from equinuclei.sources.plates.zarr_plate import read_zarr_plane

ZEROS = bytes(100_000_000)
BOMBS = {
    "zlib": (numcodecs.Zlib(), lambda: zlib.compress(ZEROS)),
    "gzip": (numcodecs.GZip(), lambda: gzip.compress(ZEROS)),
    "bz2": (numcodecs.BZ2(), lambda: bz2.compress(ZEROS)),
    "lzma": (numcodecs.LZMA(), lambda: lzma.compress(ZEROS)),
    "blosc": (numcodecs.Blosc(), lambda: numcodecs.Blosc().encode(ZEROS)),
    "lz4": (numcodecs.LZ4(), lambda: numcodecs.LZ4().encode(ZEROS)),
    "zstd": (numcodecs.Zstd(), lambda: numcodecs.Zstd().encode(ZEROS)),
}
PIXELS = np.random.default_rng(1).integers(0, 999, (2, 32, 32)).astype(np.uint16)


def write(path, **options):
    array = zarr.create_array(path, shape=PIXELS.shape, dtype=PIXELS.dtype, **options)
    array[:] = PIXELS
    return array


@pytest.mark.parametrize("codec", BOMBS)
def test_a_chunk_that_expands_far_beyond_its_array(tmp_path, codec):
    compressor, bomb = BOMBS[codec]
    array = write(tmp_path / "a", zarr_format=2, compressors=compressor, chunks=(1, 32, 32))
    np.testing.assert_array_equal(read_zarr_plane(tmp_path / "a", 1), PIXELS[1])
    place = tmp_path / "a" / array.metadata.encode_chunk_key((1, 0, 0))
    place.write_bytes(bomb())
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="expands to"):
        read_zarr_plane(tmp_path / "a", 1)
    np.testing.assert_array_equal(read_zarr_plane(tmp_path / "a", 0), PIXELS[0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 50_000  # kB


@pytest.mark.parametrize(
    "compressor", [zarr.codecs.ZstdCodec(), zarr.codecs.GzipCodec(), zarr.codecs.BloscCodec(), None]
)
@pytest.mark.parametrize("shards", [None, (2, 32, 32)])
def test_sound_chunks_of_version_3(tmp_path, compressor, shards):
    write(tmp_path / "a", compressors=compressor, chunks=(1, 16, 32), shards=shards)
    for page in (0, 1):
        np.testing.assert_array_equal(read_zarr_plane(tmp_path / "a", page), PIXELS[page])


def test_a_chunk_of_a_shard(tmp_path):
    array = write(tmp_path / "a", compressors=zarr.codecs.ZstdCodec(), chunks=(1, 32, 32), shards=(2, 32, 32))
    shard = tmp_path / "a/c/0/0/0"
    data = bytearray(shard.read_bytes())
    places = np.frombuffer(bytes(data[-36:-4]), "<u8").reshape(2, 2)
    start = int(places[1, 0])
    assert data[start : start + 4] == b"\x28\xb5\x2f\xfd"
    bomb = numcodecs.Zstd().encode(ZEROS)
    data[start : start + 18] = bomb[:18]
    shard.write_bytes(data)
    check_chunk(array, shard, (0,))
    with pytest.raises(InputError, match="expands to"):
        check_chunk(array, shard, (1,))
