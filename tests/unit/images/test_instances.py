import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from equinuclei.images.instances import (
    PREDICTED_PEAK,
    connected_components,
    nuclei,
    split_by_border,
    split_by_distance,
    split_touching,
)
from equinuclei.images.metrics import object_scores
from equinuclei.simulation.fields import simulate_field
from equinuclei.specs import INSTANCES, TARGETS
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


def prediction_codes(target, levels):
    """Codes as networks give them, and flat, tied and noisy ones."""
    highest = {"binary": 1, "distance": 255, "three_class": 2}[target]
    return np.minimum(levels, highest).astype(np.uint8)


def hills(seed, shape, sigma, step):
    """A smooth map of 0 to 255, in steps: large ones make plateaus and ties."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return np.clip(np.rint(90 * noise / noise.std() / step) * step, 0, 255).astype(np.uint8)


hill_maps = st.builds(
    hills,
    st.integers(0, 10_000),
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    st.sampled_from([1, 20, 60, 255]),
)
code_maps = st.one_of(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, 3, 255])),
    hill_maps,
)
CHOICES = [(target, method) for target in TARGETS for method in (None, *INSTANCES)]


@settings(deadline=None, max_examples=200)
@given(
    code_maps,
    st.sampled_from(CHOICES),
    st.sampled_from(["nucleus", "background"]),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
)
def test_nuclei_of_a_turned_prediction_are_the_turned_nuclei(levels, choice, border_as, min_area, fill, exclude):
    target, method = choice
    codes = prediction_codes(target, levels)
    options = {"border_as": border_as, "min_area": min_area, "fill_holes": fill, "exclude_border": exclude}
    mask, labels = nuclei(codes, target, method, **options)
    for g in Group.P4M.elements:
        turned_mask, turned = nuclei(np.ascontiguousarray(g(codes)), target, method, **options)
        np.testing.assert_array_equal(g.inverse(turned_mask), mask)
        back = g.inverse(turned)
        assert same_partition(labels, back), g
        np.testing.assert_array_equal(labels == 0, back == 0)


@settings(deadline=None, max_examples=150)
@given(code_maps, st.sampled_from(CHOICES), st.sampled_from(["nucleus", "background"]))
def test_nuclei_are_regions_of_the_mask_numbered_without_gaps(levels, choice, border_as):
    codes = prediction_codes(choice[0], levels)
    mask, labels = nuclei(codes, *choice, border_as=border_as)
    assert mask.dtype == bool and labels.dtype == np.int32 and not labels[~mask].any()
    whole = connected_components(mask)
    lasting = mask if choice[0] != "distance" or choice[1] == "components" else codes >= PREDICTED_PEAK
    assert set(np.unique(whole[labels > 0])) == set(np.unique(whole[lasting]))  # no other region is lost
    firsts = [np.flatnonzero(labels == number)[0] for number in range(1, labels.max(initial=0) + 1)]
    assert firsts == sorted(firsts)
    for number in range(1, labels.max(initial=0) + 1):
        assert ndimage.label(labels == number)[1] == 1
        if choice[0] == "three_class" and (codes[whole == whole[labels == number][0]] == 2).any():
            assert (codes[labels == number] == 2).any()  # every nucleus has a middle


def test_binary_predictions_give_components_or_parts():
    mask = disc((40, 70), 20, 20, 12) | disc((40, 70), 20, 38, 12)
    mask[0, 0] = True
    codes = mask.astype(np.uint8)
    found, components = nuclei(codes, "binary")
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(components, connected_components(mask))
    np.testing.assert_array_equal(nuclei(codes, "binary", "watershed")[1], split_touching(mask))
    assert nuclei(codes, "binary", "watershed", min_area=2)[1].max() == 2


def two_cones(depth):
    """A flat mask whose predicted distance has two middles, and a pass between them that is `depth` steps lower."""
    codes = np.zeros((11, 31), np.uint8)
    codes[1:-1, 1:-1] = 30
    codes[3:8, 4:26] = 200 - depth
    codes[4:7, 5:9] = codes[4:7, 20:25] = 200
    return codes


def test_the_predicted_distance_parts_what_the_shape_does_not():
    assert nuclei(two_cones(60), "distance")[1].max() == 2
    assert nuclei(two_cones(60), "distance", "components")[1].max() == 1
    assert split_touching(two_cones(60) > 0).max() == 1
    assert split_by_distance(two_cones(60)).max() == 2
    assert split_by_distance(two_cones(60), neck=0.6).max() == 1
    assert split_by_distance(two_cones(10)).max() == 1  # less than is certain
    assert split_by_distance(two_cones(10), neck_depth=5, neck=0.99).max() == 2
    assert (split_by_distance(two_cones(60)) > 0).sum() == (two_cones(60) > 0).sum()


def test_what_the_predicted_distance_calls_a_speck_is_no_nucleus():
    codes = two_cones(10)
    codes[0, 30] = codes[10, 0] = PREDICTED_PEAK - 1
    mask, labels = nuclei(codes, "distance")
    assert mask[0, 30] and labels.max() == 1 and not labels[0, 30] and not labels[10, 0]
    assert split_by_distance(codes, peak=1).max() == 3


def test_nuclei_grow_into_the_border_class():
    codes = np.array([[2, 1, 1, 2, 0, 1], [2, 1, 1, 2, 0, 1], [2, 2, 1, 2, 1, 0]], np.uint8)
    assert split_by_border(codes).tolist() == [[1, 1, 2, 2, 0, 3], [1, 1, 2, 2, 0, 3], [1, 1, 1, 2, 2, 0]]
    mask, labels = nuclei(codes, "three_class", border_as="background")
    np.testing.assert_array_equal(mask, codes == 2)
    assert labels.tolist() == [[1, 0, 0, 2, 0, 0], [1, 0, 0, 2, 0, 0], [1, 1, 0, 2, 0, 0]]


def test_holes_are_filled_and_cut_nuclei_left_out_on_request():
    ring = disc((40, 80), 20, 20, 10) & ~disc((40, 80), 20, 20, 5)
    ring[0:8, 60:70] = True
    ring[0:4, 63:66] = False  # a bay of the image's border, no hole
    codes = ring.astype(np.uint8)
    filled = nuclei(codes, "binary", fill_holes=True)[1]
    assert filled.max() == 2
    np.testing.assert_array_equal(filled > 0, ring | disc((40, 80), 20, 20, 10))
    inner = nuclei(codes, "binary", exclude_border=True)[1]
    np.testing.assert_array_equal(inner > 0, ring & (np.arange(80) < 50))
    inhabited = codes | disc((40, 80), 20, 20, 2)  # what holds another nucleus is no hole
    assert (
        nuclei(inhabited.astype(np.uint8), "binary", fill_holes=True)[1].tolist()
        == connected_components(inhabited > 0).tolist()
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.zeros((2, 2), np.int64), "binary"), "uint8"),
        ((np.zeros(2, np.uint8), "binary"), "uint8"),
        ((np.zeros((2, 2), np.uint8), "rays"), "'rays' is not one of binary"),
        ((np.zeros((2, 2), np.uint8), "binary", "guess"), "'guess' is not one of components"),
        ((np.full((2, 2), 3, np.uint8), "three_class"), "0, 1 and 2"),
    ],
)
def test_what_is_no_prediction_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        nuclei(*arguments)


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
