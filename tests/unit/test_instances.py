import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from equinuclei.instances import connected_components, label_nuclei, split_touching
from equinuclei.metrics import object_scores
from equinuclei.simulate import simulate_field
from equinuclei.symmetry import Group

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


def disc(shape, y, x, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len({i for i, _ in pairs}) == len({j for _, j in pairs})


def blobs(seed, shape, sigma, level):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return noise > level * noise.std()


blob_masks = st.builds(
    blobs,
    st.integers(0, 10_000),
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    st.sampled_from([-0.5, 0.0, 0.7]),
)


@settings(deadline=None, max_examples=150)
@given(st.one_of(masks, blob_masks), st.sampled_from([0.3, 0.85, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_parts_of_a_turned_mask_are_the_turned_parts(mask, neck, neck_depth):
    parts = split_touching(mask, neck=neck, neck_depth=neck_depth)
    for g in Group.P4M.elements:
        turned = split_touching(np.ascontiguousarray(g(mask)), neck=neck, neck_depth=neck_depth)
        back = g.inverse(turned)
        assert same_partition(parts, back), g
        np.testing.assert_array_equal(parts == 0, back == 0)


@settings(deadline=None, max_examples=100)
@given(st.one_of(masks, blob_masks), st.integers(0, 5))
def test_every_part_is_one_region_of_one_object(mask, min_area):
    parts = split_touching(mask, min_area=min_area)
    whole = connected_components(mask)
    assert parts.dtype == np.int32 and (parts[~mask] == 0).all()
    firsts = [np.flatnonzero(parts == number)[0] for number in range(1, parts.max() + 1)]
    assert firsts == sorted(firsts)
    for number in range(1, parts.max() + 1):
        part = parts == number
        assert ndimage.label(part)[1] == 1 and len(np.unique(whole[part])) == 1
        assert part.sum() >= min_area
    if min_area <= 1:
        assert set(np.unique(whole[parts > 0])) | {0} == set(np.unique(whole)) | {0}
        # What is left out are ties, and what only they lead to: little.
        assert (mask & (parts == 0)).sum() <= 0.3 * mask.sum()


def test_two_overlapping_discs_are_two():
    mask = disc((60, 90), 30, 30, 18) | disc((60, 90), 30, 58, 18)
    parts = split_touching(mask)
    assert parts.max() == 2
    # Mirror images of each other: the column between them is nobody's.
    assert not parts[:, 44].any() and (parts > 0).sum() == mask.sum() - mask[:, 44].sum()
    assert (parts[:, :44] != 2).all() and (parts[:, 45:] != 1).all()
    larger = split_touching(disc((60, 90), 30, 30, 20) | disc((60, 90), 30, 60, 16))
    assert larger.max() == 2 and ((larger > 0) == (disc((60, 90), 30, 30, 20) | disc((60, 90), 30, 60, 16))).all()


def test_a_chain_of_discs_is_as_many():
    mask = np.zeros((60, 160), bool)
    for x in (25, 55, 85, 115):
        mask |= disc(mask.shape, 30, x, 18 if x == 55 else 17)
    assert split_touching(mask).max() == 4


@pytest.mark.parametrize("angle", [0, 17, 45, 80])
@pytest.mark.parametrize("axes", [(20, 8), (15, 12), (30, 10), (6, 3)])
def test_one_ellipse_is_one(angle, axes):
    y, x = np.mgrid[-35:36, -35:36]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    mask = ((c * x + s * y) / axes[0]) ** 2 + ((c * y - s * x) / axes[1]) ** 2 <= 1
    assert split_touching(mask).max() == 1


def test_a_ring_is_one():
    mask = disc((60, 60), 30, 30, 20) & ~disc((60, 60), 30, 30, 12)
    np.testing.assert_array_equal(split_touching(mask), mask)


def test_simple_masks():
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    for mask in (one, np.zeros((5, 5), bool), np.ones((5, 5), bool), np.zeros((0, 5), bool), np.ones((1, 1), bool)):
        np.testing.assert_array_equal(split_touching(mask), mask)


def test_simulated_nuclei_are_found_as_drawn():
    truth = simulate_field("HepG2", 5, 400, 400).instances
    parts = split_touching(truth > 0)
    scores = object_scores(truth, parts, [0.75])
    assert connected_components(truth > 0).max() < 0.7 * truth.max()
    assert scores["F1"].item() > 0.95


def test_nuclei_of_logits_lie_where_they_are_positive():
    mask = disc((40, 70), 20, 20, 12) | disc((40, 70), 20, 38, 12)
    mask[0, 0] = True
    logits = np.where(mask, 0.1, 0.0).astype(np.float32)
    np.testing.assert_array_equal(label_nuclei(logits), split_touching(mask))
    assert label_nuclei(logits).max() == 3 and label_nuclei(logits, min_area=2).max() == 2
    np.testing.assert_array_equal(label_nuclei(mask, min_area=2), label_nuclei(logits, min_area=2))


@pytest.mark.parametrize("arguments", [{"neck": 1.1}, {"neck": -1}, {"neck_depth": -1}, {"min_area": -1}])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        split_touching(np.zeros((2, 2), bool), **arguments)


def test_labelling_is_fast():
    mask = simulate_field("HeLa", 1, 1080, 1080).instances > 0
    seconds = []
    for _ in range(3):
        start = time.process_time()
        nuclei = split_touching(mask).max()
        seconds.append(time.process_time() - start)
    print(f"{nuclei} nuclei in 1080 x 1080 pixels: {min(seconds):.2f} CPU seconds")
    assert nuclei > 300 and min(seconds) < 1.0  # 0.2 on an idle machine


def test_a_ragged_mask_takes_no_age():
    mask = np.random.default_rng(0).random((500, 500)) < 0.7
    start = time.process_time()
    split_touching(mask)
    assert time.process_time() - start < 5
