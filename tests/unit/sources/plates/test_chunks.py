"""Chunks of Zarr arrays that were lost, and those that were never written."""

import shutil

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.sources.plates import read_plane
from equinuclei.sources.plates.chunks import lost_chunks
from support.zarr_plates import random_pixels, write_zarr_image

FORMATS = {
    "v2, nested": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "v2, flat": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "v3": {"zarr_format": 3},
    "v3, sharded": {"zarr_format": 3, "shards": (1, 8, 8)},
}


def missing_chunks(path, page):
    """How many chunk files of a plane were lost."""
    return len(lost_chunks(zarr.open_array(path, mode="r"), path, page)[0])


def write(path, pixels, layout="v2, nested", empty=False):
    chunks = (1, 4, 4) if layout == "v3, sharded" else (1, 8, 8)
    array = zarr.create_array(
        path,
        shape=pixels.shape,
        chunks=chunks,
        dtype=pixels.dtype,
        overwrite=True,
        config={"write_empty_chunks": empty},
        **FORMATS[layout],
    )
    array[...] = pixels
    return {
        (page, *place): path / array.metadata.encode_chunk_key((page, *place))
        for page, *place in np.ndindex(pixels.shape[0], -(-pixels.shape[1] // 8), -(-pixels.shape[2] // 8))
    }


@pytest.mark.parametrize("layout", FORMATS)
class TestFormats:
    def test_a_lost_chunk_is_counted(self, tmp_path, layout):
        pixels = random_pixels(1, 3, (20, 28))
        files = write(tmp_path / "a", pixels, layout)
        assert [missing_chunks(tmp_path / "a", page) for page in range(3)] == [0, 0, 0]
        files[1, 0, 3].unlink()
        files[1, 2, 2].unlink()
        assert [missing_chunks(tmp_path / "a", page) for page in range(3)] == [0, 2, 0]
        with pytest.raises(InputError, match="plane 1: 2 of 12 chunks are absent"):
            read_plane(tmp_path / "a", 1)

    def test_background_that_was_not_written(self, tmp_path, layout):
        pixels = np.zeros((2, 24, 24), "uint16")
        pixels[0, 1:6, 2:5], pixels[1, 10:14, 17:22] = 7, 9
        files = write(tmp_path / "a", pixels, layout)
        assert sum(path.is_file() for path in files.values()) == 2
        for page in (0, 1):
            assert missing_chunks(tmp_path / "a", page) == 0
            np.testing.assert_array_equal(read_plane(tmp_path / "a", page), pixels[page])
        # Beside pixels that are none, background could be a loss: loud is better than silent.
        pixels[0, 8:16, 8:16] = 3
        write(tmp_path / "a", pixels, layout)
        assert [missing_chunks(tmp_path / "a", page) for page in (0, 1)] == [7, 0]


def test_a_mosaic_with_gaps(tmp_path):
    pixels = random_pixels(1, 2, (24, 24))
    pixels[:, 8:16, 8:] = 0
    write(tmp_path / "a", pixels)
    assert missing_chunks(tmp_path / "a", 0) == missing_chunks(tmp_path / "a", 1) == 0
    np.testing.assert_array_equal(read_plane(tmp_path / "a", 1), pixels[1])


def test_a_plane_that_lost_everything(tmp_path):
    files = write(tmp_path / "a", random_pixels(1, 2, (16, 16)))
    for place, path in files.items():
        if place[0] == 1:
            path.unlink()
    assert (missing_chunks(tmp_path / "a", 0), missing_chunks(tmp_path / "a", 1)) == (0, 4)
    for path in files.values():
        path.unlink(missing_ok=True)
    assert missing_chunks(tmp_path / "a", 0) == 4


class TestLowerResolution:
    def make(self, tmp_path, pixels):
        write_zarr_image(tmp_path / "0", "0", pixels, chunks=(1, 8, 8), levels=2)
        return tmp_path / "0" / "0"

    def test_shows_what_was_lost(self, tmp_path):
        # The edges are zero and so tell nothing, and both planes lack the same chunk.
        pixels = np.zeros((2, 16, 16), "uint16")
        pixels[:, 1:15, 1:15] = 5
        pixels[:, 6:10] = pixels[:, :, 6:10] = 0
        array = self.make(tmp_path, pixels)
        for page in "01":
            (array / page / "1/1").unlink()
        assert missing_chunks(array, 0) == missing_chunks(array, 1) == 1

    def test_shows_that_nothing_was_there(self, tmp_path):
        pixels = random_pixels(1, 1, (16, 16))
        pixels[:, 8:, 8:] = 0
        array = self.make(tmp_path, pixels)
        (array / "0/1/1").unlink()
        assert missing_chunks(array, 0) == 0
        # Without it, an empty chunk beside full ones is taken for lost.
        shutil.rmtree(array.parent / "1")
        assert missing_chunks(array, 0) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.sets(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1))))
def test_of_a_camera_image_any_loss_is_told_that_planes_do_not_share(tmp_path, lost):
    files = write(tmp_path / "a", random_pixels(1, 2, (24, 16)))
    for place in lost:
        files[place].unlink()
    by_plane = [{place[1:] for place in lost if place[0] == page} for page in (0, 1)]
    for page, places in enumerate(by_plane):
        shared = by_plane[0] == by_plane[1] and len(places) < 6
        assert missing_chunks(tmp_path / "a", page) == (0 if shared else len(places))


@pytest.mark.parametrize("layout", FORMATS)
def test_a_chunk_that_came_in_part_is_no_image(tmp_path, layout):
    files = write(tmp_path / "a", random_pixels(1, 2, (16, 16)), layout)
    for size in (0, 20):
        files[0, 1, 1].write_bytes(files[0, 1, 1].read_bytes()[:size])
        with pytest.raises(InputError, match=r"plane 0: cannot be read|plane 0: 1 of 4 chunks are absent"):
            read_plane(tmp_path / "a", 0)
        files = write(tmp_path / "a", random_pixels(1, 2, (16, 16)), layout)
