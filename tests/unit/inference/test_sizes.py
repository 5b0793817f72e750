"""The size of nuclei, read from reduced images: of any size, whichever way an image lies, whatever frames it."""

import math
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.images.intensity import normalization_statistics
from equinuclei.images.interpolation import Interpolation
from equinuclei.images.rescaling import magnified_shape, typical_diameter
from equinuclei.inference.nuclei import segment_image
from equinuclei.inference.sizes import CLEAR, WINDOW, estimate_size, level_shape, window_slices
from equinuclei.inference.tiling import normalized
from equinuclei.library.names import SHIPPED, WEIGHTS
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.simulation.fields import simulate_field
from equinuclei.symmetry import Group

FAST = SHIPPED / "fluorescence-fast-v1" / WEIGHTS


@pytest.fixture(scope="module")
def network():
    return fold(load_model(FAST))


@pytest.fixture(scope="module")
def field():
    return simulate_field("HeLa", 3, 200, 232)


def estimate(network, image):
    image = np.ascontiguousarray(image)
    read = normalized(image, None, normalization_statistics(image, method=network.normalization))
    return estimate_size(network, read, image.shape)


def magnify(image, factor):
    interpolation = Interpolation(image.shape, magnified_shape(image.shape, factor))
    return np.rint(interpolation.window(lambda y, x: image[y, x], slice(None), slice(None))).astype(np.uint16)


@pytest.mark.parametrize("factor", [0.5, 1, 3, 8])
def test_sizes_from_small_to_large_are_read(network, field, factor):
    image, true = magnify(field.images["fluorescence"], factor), factor * typical_diameter(field.instances)
    found = estimate(network, image[:1000, :1000])
    assert found.diameter == pytest.approx(true, rel=0.3) and found.score >= CLEAR


def test_lumps_within_large_nuclei_are_not_taken_for_nuclei(network, field):
    """At its own scale a nucleus of 190 pixels shows lumps of the very size that the network knows."""
    image = magnify(field.images["fluorescence"], 8)[:900, :900].astype(np.float64)
    rng = np.random.default_rng(0)
    lumps = Interpolation((40, 40), image.shape).window(
        lambda y, x: rng.uniform(0.5, 1.5, (40, 40))[y, x], slice(None), slice(None)
    )
    true = 8 * typical_diameter(field.instances)
    assert estimate(network, (image * lumps).astype(np.uint16)).diameter == pytest.approx(true, rel=0.3)


def test_a_field_on_a_black_frame_is_no_nucleus(network, field):
    image = field.images["fluorescence"]
    framed = np.zeros((700, 760), image.dtype)
    framed[240 : 240 + image.shape[0], 260 : 260 + image.shape[1]] = image
    assert estimate(network, framed).diameter == pytest.approx(typical_diameter(field.instances), rel=0.3)


def test_a_single_nucleus_in_a_large_image_is_found(network, field):
    image = field.images["fluorescence"]
    label = np.bincount(field.instances.ravel())[1:].argmax() + 1
    (top, bottom), (left, right) = ((place.min(), place.max() + 1) for place in np.nonzero(field.instances == label))
    large = np.random.default_rng(0).normal(np.percentile(image, 5), 3, (900, 900)).clip(0).astype(image.dtype)
    place = large[5 : 5 + bottom - top, 700 : 700 + right - left]
    nucleus = field.instances[top:bottom, left:right] == label
    place[nucleus] = image[top:bottom, left:right][nucleus]
    true = typical_diameter(nucleus.astype(np.int32))
    assert estimate(network, large).diameter == pytest.approx(true, rel=0.35)


@pytest.mark.parametrize("image", [np.zeros((300, 200), np.uint8), np.full((40, 900), 7, np.uint16)])
def test_an_empty_image_has_no_size(network, image):
    found = estimate(network, image)
    assert math.isnan(found.diameter) and math.isnan(found.rival) and (found.score, found.agreement) == (0, 1)


def test_an_image_too_small_to_look_at_is_segmented_as_it_is(network):
    found = segment_image(network, np.zeros((20, 30), np.uint8))
    assert found.magnification == 1 and found.estimate is not None and math.isnan(found.estimate.diameter)


@pytest.mark.parametrize("factor", [1, 4])
def test_a_turned_image_has_the_very_same_estimate(network, field, factor):
    image = magnify(field.images["fluorescence"], factor)[:701, :850]
    first, *turned = (estimate(network, g(image)) for g in Group.P4.elements)
    for other in turned:
        np.testing.assert_array_equal(astuple(other), astuple(first))  # NaN equals NaN here


@given(st.integers(1, 20_000), st.sampled_from([1 / 16, 1 / 4, 1, 2]), st.sampled_from([None, 1, 2, 3]))
def test_windows_lie_symmetrically_and_are_few_or_cover_all(size, level, most):
    seen, _ = level_shape((size, 1), level)
    windows = window_slices(seen, most)
    assert [(seen - w.stop, seen - w.start) for w in reversed(windows)] == [(w.start, w.stop) for w in windows]
    assert all(0 <= w.start < w.stop <= seen for w in windows)
    if seen <= WINDOW * 5 // 4:
        assert windows == [slice(0, seen)]
    elif most is None:
        assert all(b.start <= a.stop for a, b in pairwise(windows))
        assert windows[0].start == 0 and windows[-1].stop == seen
    else:
        assert len(windows) <= most and all(a.stop <= b.start for a, b in pairwise(windows))
