import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from equinuclei.instances import connected_components

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def test_touching_corners_stay_two_objects():
    labels = connected_components(np.eye(3, dtype=bool))
    assert labels.tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 3]]
    assert labels.dtype == np.int32


def test_touching_edges_are_one_object():
    mask = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    assert connected_components(mask).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 2]]


def test_small_regions_are_removed_and_the_rest_renumbered():
    mask = np.array([[1, 0, 1, 1, 0, 1, 1, 1]], dtype=bool)
    assert connected_components(mask, min_area=1).tolist() == [[1, 0, 2, 2, 0, 3, 3, 3]]
    assert connected_components(mask, min_area=2).tolist() == [[0, 0, 1, 1, 0, 2, 2, 2]]
    assert connected_components(mask, min_area=3).tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]
    assert connected_components(mask, min_area=4).max() == 0


@given(masks, st.integers(0, 6))
def test_numbers_have_no_gaps_and_areas_are_large_enough(mask, min_area):
    labels = connected_components(mask, min_area)
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= max(1, min_area)).all()
    assert (labels[~mask] == 0).all()
    if min_area < 2:
        assert (labels[mask] > 0).all()


@given(masks, st.integers(1, 3))
def test_a_rotated_mask_has_the_rotated_objects(mask, quarter_turns):
    labels = connected_components(mask)
    turned = np.rot90(connected_components(np.rot90(mask, quarter_turns)), -quarter_turns)
    pairs = set(zip(labels.ravel().tolist(), turned.ravel().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("mask", [np.zeros((2, 2), dtype=np.uint8), np.zeros(3, dtype=bool)])
def test_only_masks_are_accepted(mask):
    with pytest.raises(ValueError, match="bool array"):
        connected_components(mask)


def test_a_negative_area_is_refused():
    with pytest.raises(ValueError, match="min_area"):
        connected_components(np.zeros((2, 2), dtype=bool), min_area=-1)
