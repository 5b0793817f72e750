"""Quality scores of images, with known answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from equinuclei.images.quality import (
    contrast_score,
    focus_score,
    inverted,
    saturated_share,
    sharpness_score,
    skewness_score,
)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_contrast_has_the_sign_of_the_nuclei(dtype):
    nuclei, imaged = np.zeros((2, 40, 40), bool)
    nuclei[10:20, 10:20], imaged[:, :30] = True, True
    noise = np.random.default_rng(0).normal(0, 10, (40, 40))
    scores = [
        contrast_score((1000 + noise + step * nuclei + 9000 * ~imaged).astype(dtype), nuclei, imaged)
        for step in (500, 5, -300)
    ]
    assert scores[0] == pytest.approx(50, rel=0.15) and abs(scores[1]) < 2 and scores[2] == pytest.approx(-30, rel=0.15)
    assert contrast_score(np.full((40, 40), 5.0) + nuclei, nuclei, imaged) == 1000  # no noise at all
    assert contrast_score(np.full((40, 40), 5, np.uint8), nuclei, imaged) == 0
    assert math.isnan(contrast_score(noise, ~imaged, imaged)) and math.isnan(contrast_score(noise, imaged, imaged))


def test_focus_falls_with_blur_and_not_with_exposure():
    image = np.random.default_rng(0).integers(100, 4000, (64, 64)).astype(np.uint16)
    scores = [focus_score(ndimage.gaussian_filter(image, sigma)) for sigma in (0, 1, 2)]
    assert scores[0] > scores[1] > scores[2]
    assert focus_score(image * 2) == pytest.approx(focus_score(image))
    assert focus_score(np.zeros((8, 8), np.uint16)) == 0 == focus_score(np.full((8, 8), 7, np.uint16))


@pytest.mark.parametrize("dtype, limit, share", [("uint16", 65535, 0.25), ("uint16", 4095, 0.25), ("uint8", 255, 0.25),
                                                 ("uint16", 3000, 0), ("float32", 1, 0)])  # fmt: skip
def test_saturation(dtype, limit, share):
    image = np.zeros((4, 4), dtype)
    image[0] = limit
    assert saturated_share(image) == share


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_that_pile_up_at_any_value_are_saturated(dtype):
    image = np.random.default_rng(0).normal(120, 20, (64, 64))
    assert saturated_share(image.astype(dtype)) == 0
    clipped = np.minimum(image, 140).astype(dtype)
    assert saturated_share(clipped) == pytest.approx((image >= 140).mean(), abs=1e-9) and saturated_share(clipped) > 0.1
    assert saturated_share(np.zeros((0, 3), dtype)) == 0


def discs(blur=0.0, noise=0.0, size=200, radius=10):
    """Discs on a dark background, float, and where they are."""
    y, x = np.mgrid[:size, :size]
    nuclei = ((y % 50 - 25) ** 2 + (x % 50 - 25) ** 2) <= radius**2
    image = 100 + 900.0 * ndimage.gaussian_filter(nuclei.astype(float), max(blur, 0.7))
    return image + np.random.default_rng(0).normal(0, noise, image.shape) if noise else image, nuclei


def test_skewness_tells_bright_nuclei_from_dark_ones():
    image, _ = discs(noise=5)
    image = image.astype(np.uint16)
    assert skewness_score(image) > 0.8 and skewness_score(inverted(image)) < -0.8
    assert abs(skewness_score(np.random.default_rng(0).normal(100, 5, (99, 99)))) < 0.1
    assert skewness_score(np.full((9, 9), 7, np.uint8)) == 0


@pytest.mark.parametrize("noise", [0, 30])
def test_sharpness_falls_with_blur_whatever_the_noise(noise):
    scores = [sharpness_score(*discs(blur, noise), diameter=20) for blur in (1, 3, 5)]
    assert scores[0] > 1.4 > scores[1] > scores[2] and scores[2] < 1.27


def test_sharpness_needs_nuclei_that_pixels_do_not_blur():
    image, nuclei = discs()
    assert math.isnan(sharpness_score(image, nuclei & False, 20))
    assert math.isnan(sharpness_score(image, nuclei, 7)) and math.isnan(sharpness_score(image, nuclei, math.nan))
    assert math.isnan(sharpness_score(np.zeros_like(image), nuclei, 20))


@given(st.sampled_from(["uint8", "uint16", "float32"]), st.lists(st.integers(0, 255), min_size=1, max_size=9))
def test_an_inverted_image_is_of_the_same_type_and_inverted_again_the_same(dtype, values):
    image = np.array([values], dtype)
    other = inverted(image)
    assert other.dtype == image.dtype and np.array_equal(inverted(other), image)
    assert np.array_equal(np.argsort(image[0], kind="stable"), np.argsort(-other[0].astype(float), kind="stable"))
