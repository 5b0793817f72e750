"""How arrays are cut: one file where it fits, and every pixel in one block."""

import numpy as np
import pytest

from equinuclei.omezarr.blocks import chunks_of, count_levels, shards_of, shrink


@pytest.mark.parametrize(
    "shape, chunks, itemsize, shard",
    [
        ((2, 3240, 3240), (1, 512, 512), 2, (2, 3584, 3584)),
        ((6, 6480, 6480), (1, 512, 512), 2, (1, 6656, 6656)),
        ((2, 20000, 20000), (1, 512, 512), 2, (1, 3584, 20480)),
        ((300, 300), (300, 300), 4, (300, 300)),
    ],
)
def test_shards_hold_the_array_or_as_much_as_one_file_may(shape, chunks, itemsize, shard):
    assert shards_of(shape, chunks, itemsize) == shard


def test_chunks_are_planes_no_larger_than_the_array():
    assert chunks_of((2, 3000, 100), "0.5") == (1, 512, 100)
    assert chunks_of((2, 3000, 100), "0.4") == (1, 2048, 100)


@pytest.mark.parametrize(
    "height, width, levels", [(1024, 1024, 1), (1025, 10, 2), (3240, 3240, 2), (6480, 6480, 3), (5000, 1, 1)]
)
def test_a_pyramid_ends_where_a_level_is_small(height, width, levels):
    assert count_levels(height, width) == levels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_a_coarser_pixel_is_the_mean_of_those_that_become_one(dtype):
    pixels = np.array([[1, 2, 0, 0, 9], [3, 4, 0, 1, 9], [9, 9, 9, 9, 9]], dtype)
    expected = [[2.5, 0.25]] if dtype == "float32" else [[3, 0]]
    assert shrink(pixels, 2).tolist() == expected and shrink(pixels, 2).dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_sums_do_not_overflow_and_steps_are_means(dtype):
    pixels = np.random.default_rng(0).integers(200, 255, (2, 13, 18)).astype(dtype)
    blocks = pixels[:, :12, :16].reshape(2, 3, 4, 4, 4).astype(float).mean(axis=(2, 4))
    expected = blocks if dtype == "float64" else np.floor(blocks + 0.5)
    np.testing.assert_array_equal(shrink(pixels, 4), expected.astype(dtype))
    assert shrink(np.full((4, 4), 255, "uint8"), 4).tolist() == [[255]]
    np.testing.assert_array_equal(shrink(pixels, 1), pixels)
