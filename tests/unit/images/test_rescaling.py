"""Sizes of nuclei, and images magnified to the one that a network knows."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn.functional import interpolate

from equinuclei.errors import InputError
from equinuclei.images.interpolation import Interpolation, linear_weights
from equinuclei.images.rescaling import LEAST, MOST, magnification, magnified_shape, typical_diameter
from equinuclei.inference.nuclei import MOST_PIXELS, fitting_magnification
from equinuclei.symmetry import Group

label_images = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5))


def test_the_typical_diameter_is_that_of_a_disc_and_specks_do_not_move_it():
    y, x = np.mgrid[:64, :64] - 31.5
    labels = (y**2 + x**2 < 20**2).astype(np.int32)
    assert typical_diameter(labels) == pytest.approx(40, rel=0.01)
    labels[0, ::2] = np.arange(2, 34)
    assert typical_diameter(labels) == pytest.approx(40, rel=0.01)
    assert math.isnan(typical_diameter(np.zeros((4, 4), np.int32)))


@given(label_images, st.sampled_from(Group.P4M.elements), st.permutations(range(1, 6)))
def test_it_depends_on_no_orientation_and_no_number(labels, g, numbers):
    renumbered = np.array([0, *numbers])[labels]
    assert np.array_equal(typical_diameter(g(renumbered)), typical_diameter(labels), equal_nan=True)


@given(st.floats(0.1, 1000), st.floats(1, 100))
def test_a_magnification_brings_a_diameter_to_the_wanted_one_within_bounds(diameter, wanted):
    factor = magnification(diameter, wanted)
    assert LEAST <= factor <= MOST
    if LEAST < factor < MOST:
        assert factor * diameter == pytest.approx(wanted)


def test_what_is_magnified_to_nothing():
    assert magnification(math.nan, 24) == 1
    assert magnified_shape((1, 200), 0.25) == (1, 50)
    with pytest.raises(InputError, match="no preferred size"):
        magnification(20, None)


@given(
    st.integers(1, 30_000),
    st.integers(1, 30_000),
    st.floats(1, 1000),
    st.sampled_from([8, 16, 32]),
    st.sampled_from([24, 50]),
)
def test_a_magnified_image_leaves_a_network_and_the_memory_enough(height, width, diameter, multiple, own):
    network = SimpleNamespace(diameter=own, input_multiple=multiple)
    factor, free = fitting_magnification(network, diameter, (height, width)), magnification(diameter, own)
    shown = magnified_shape((height, width), factor)
    assert min(shown) >= min(height, width, multiple)
    assert shown[0] * shown[1] <= max(height * width, 1.001 * MOST_PIXELS + height + width)
    if min(height, width) * free > multiple and height * width * free**2 < MOST_PIXELS:
        assert factor == free


@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(0.25, 4), st.sampled_from(Group.P4M.elements), st.integers(0, 9)
)
def test_interpolating_commutes_with_every_symmetry(height, width, factor, g, seed):
    image = np.random.default_rng(seed).normal(size=(height, width))

    def shown(pixels):
        interpolation = Interpolation(pixels.shape, magnified_shape(pixels.shape, factor))
        return interpolation.window(lambda y, x: pixels[y, x], slice(None), slice(None))

    np.testing.assert_allclose(shown(g(image)), g(shown(image)), rtol=3e-7, atol=1e-7)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 90), st.integers(2, 90), st.data())
def test_a_window_is_that_of_the_whole_as_torch_interpolates_it(height, width, rows, columns, data):
    image = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    interpolation = Interpolation(image.shape, (rows, columns))

    def read(y, x):
        return image[y, x]

    whole = interpolation.window(read, slice(None), slice(None))
    peer = interpolate(torch.from_numpy(image)[None, None].double(), (rows, columns), mode="bilinear", antialias=True)
    np.testing.assert_allclose(whole, peer[0, 0], rtol=0, atol=1e-5)
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    window = slice(top, data.draw(st.integers(top + 1, rows))), slice(left, data.draw(st.integers(left + 1, columns)))
    np.testing.assert_array_equal(interpolation.window(read, *window), whole[window])


@given(st.integers(1, 200), st.integers(1, 200))
def test_weights_add_up_to_1_and_are_symmetric(size, shown):
    weights = linear_weights(size, shown).toarray()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
    assert weights.min() >= 0 and (weights > 0).any(axis=0).all()
    if size == shown:
        np.testing.assert_array_equal(weights, np.eye(size))
