"""How arrays are cut: one file where it fits, and every pixel in one block."""

import numpy as np
import pytest

from equinuclei.omezarr.blocks import chunks_of, count_levels, halve, shards_of


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


@pytest.mark.parametrize("height, width, levels", [(512, 512, 1), (513, 10, 2), (2048, 3000, 4), (5000, 1, 1)])
def test_a_pyramid_ends_where_a_level_is_small(height, width, levels):
    assert count_levels(height, width) == levels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_a_coarser_pixel_is_the_mean_of_four(dtype):
    pixels = np.array([[1, 2, 0, 0], [3, 4, 0, 1]], dtype)
    expected = [[2.5, 0.25]] if dtype == "float32" else [[3, 0]]
    assert halve(pixels).tolist() == expected and halve(pixels).dtype == dtype
