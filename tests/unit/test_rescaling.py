"""Sizes of nuclei, and images magnified to the one that a network knows."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equinuclei.errors import InputError
from equinuclei.interpolation import resize
from equinuclei.rescaling import LEAST, MOST, magnification, magnified_shape, typical_diameter
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
    assert magnified_shape((1, 200), 0.25) == (2, 50)
    with pytest.raises(InputError, match="no size of its own"):
        magnification(20, None)


@settings(deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(0.25, 4), st.sampled_from(Group.P4M.elements), st.integers(0, 9)
)
def test_resizing_commutes_with_every_symmetry(height, width, factor, g, seed):
    image = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 2, height, width)))

    def magnified(images):
        return resize(images, magnified_shape(tuple(images.shape[-2:]), factor))

    torch.testing.assert_close(magnified(g(image).contiguous()), g(magnified(image)), rtol=0, atol=1e-12)


def test_resizing_keeps_a_constant_and_the_same_shape():
    image = torch.full((1, 1, 7, 9), 3.0)
    assert resize(image, (7, 9)) is image
    torch.testing.assert_close(resize(image, (3, 20)), torch.full((1, 1, 3, 20), 3.0))
