"""Normalisation is exact, and blind to orientation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equinuclei.images.intensity import intensity_statistics, normalization_statistics, normalize
from equinuclei.specs import NORMALIZATIONS
from equinuclei.symmetry import Group

shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
integer_images = hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.int32]), shapes)
float_images = hnp.arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32))


@given(st.one_of(integer_images, float_images), st.sampled_from(Group.P4M.elements), st.sampled_from(NORMALIZATIONS))
def test_normalising_commutes_with_every_symmetry_bit_for_bit(image, g, method):
    np.testing.assert_array_equal(normalize(g(image), method), g(normalize(image, method)))


def test_percentiles_become_0_and_4_however_few_the_nuclei():
    image = np.zeros((100, 100), np.uint16)
    image.ravel()[:9900], image.ravel()[9900:] = 200, 1000
    result = normalize(image, "percentile")
    assert result.dtype == np.float32 and sorted(np.unique(result).tolist()) == [0, 4]
    ramp = np.arange(10001, dtype=np.float32).reshape(73, 137)
    assert normalization_statistics(ramp, method="percentile") == pytest.approx((100, (9980 - 100) / 4))
    gap = np.where(ramp > 5000, np.nan, ramp).astype(np.float32)
    assert normalization_statistics(gap, ramp <= 5000, "percentile") == pytest.approx((50, (4990 - 50) / 4))
    assert normalization_statistics(ramp, np.zeros(ramp.shape, bool), "percentile") == (0, 0)
    nearly_dark = np.zeros((100, 100), np.uint16)
    nearly_dark[0, :9] = 60000
    assert 10 < normalize(nearly_dark, "percentile").max() < 100
    assert normalize(np.eye(4, dtype=bool), "percentile").max() == pytest.approx(4, rel=0.01)
    with pytest.raises(ValueError, match="valid has shape"):
        normalization_statistics(np.zeros((2, 2), np.uint8), np.ones((2, 3), bool), "percentile")


@given(integer_images)
def test_statistics_are_numpys(image):
    mean, std = intensity_statistics(image)
    wide = image.astype(np.longdouble)
    assert mean == pytest.approx(float(wide.mean()))
    assert std == pytest.approx(float(wide.std()), rel=1e-6, abs=1e-3)


def test_sums_of_large_pixels_do_not_overflow():
    image = np.array([[2**31 - 1, 0]] * 3, dtype=np.int32)
    mean, std = intensity_statistics(image)
    assert mean == std == (2**31 - 1) / 2


def test_a_standardised_image_has_mean_0_and_variance_1():
    image = np.random.default_rng(0).integers(100, 60000, (64, 48)).astype(np.uint16)
    result = normalize(image)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-5) and result.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_a_constant_image_becomes_zeros(method):
    assert not normalize(np.full((4, 4), 7, np.uint16), method).any()


def test_other_pixels_are_refused():
    with pytest.raises(TypeError, match="complex"):
        intensity_statistics(np.zeros((2, 2), complex))


@given(st.one_of(integer_images, float_images), st.randoms(use_true_random=False))
def test_statistics_of_valid_pixels_are_those_of_an_image_of_them(image, random):
    valid = np.array([random.random() < 0.5 for _ in range(image.size)]).reshape(image.shape)
    expected = intensity_statistics(image[valid]) if valid.any() else (0, 0)
    assert intensity_statistics(image, valid) == expected


def test_statistics_of_a_long_image_are_read_in_bands():
    image = np.random.default_rng(0).integers(0, 65536, (1500, 8)).astype(np.uint16)
    assert intensity_statistics(image) == intensity_statistics(image.reshape(8, 1500))
    real = image.astype(np.float32)
    assert intensity_statistics(real) == intensity_statistics(real.reshape(8, 1500))


def test_valid_pixels_have_the_shape_of_the_image():
    with pytest.raises(ValueError, match="valid has shape"):
        intensity_statistics(np.zeros((2, 2), np.uint8), np.ones((2, 3), bool))
