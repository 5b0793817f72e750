import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_equal

from equinuclei.images.instances import connected_components
from equinuclei.images.metrics import THRESHOLDS, object_scores, score_image
from equinuclei.images.pixel_metrics import mask_iou, pixel_scores

shapes = array_shapes(min_dims=2, max_dims=2, max_side=10)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def label_pairs(largest: int, largest_side: int = 10):
    shapes = array_shapes(min_dims=2, max_dims=2, max_side=largest_side)
    labels = st.integers(0, largest)
    return shapes.flatmap(
        lambda shape: st.tuples(arrays(np.int32, shape, elements=labels), arrays(np.int32, shape, elements=labels))
    )


def stretch(*lengths):
    """A label image of one row: `lengths` pixels of 1, 2, ..., with a negative length for background."""
    labels, number = [], 0
    for length in lengths:
        number += length > 0
        labels += [number if length > 0 else 0] * abs(length)
    return np.array([labels])


def overlap(intersection, union):
    """Two label images with an object each, whose intersection over union is the given fraction."""
    return stretch(intersection, -(union - intersection)), stretch(union)


# Pixels


def test_pixel_scores_of_a_known_pair():
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    prediction = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)
    assert pixel_scores(truth, prediction) == {
        "TP": 3,
        "FP": 2,
        "FN": 1,
        "TN": 4,
        "precision": 3 / 5,
        "recall": 3 / 4,
        "F1": 2 / 3,
        "IoU": 1 / 2,
        "binary_accuracy": 7 / 10,
        "mean_pixel_accuracy": (3 / 4 + 4 / 6) / 2,
    }


def test_without_a_nucleus_on_either_side_scores_are_undefined():
    empty = np.zeros((2, 3), dtype=bool)
    scores = pixel_scores(empty, empty)
    assert all(np.isnan(scores[key]) for key in ("precision", "recall", "F1", "IoU"))
    assert scores["TN"] == 6
    assert scores["binary_accuracy"] == scores["mean_pixel_accuracy"] == 1
    assert np.isnan(mask_iou(empty, empty))


@pytest.mark.parametrize("swap", [False, True])
def test_with_a_nucleus_on_one_side_scores_are_zero(swap):
    pair = [np.zeros((2, 3), dtype=bool), np.eye(2, 3, dtype=bool)]
    scores = pixel_scores(*pair[:: -1 if swap else 1])
    assert [scores[key] for key in ("precision", "recall", "F1", "IoU")] == [0, 0, 0, 0]
    assert mask_iou(*pair) == 0


def test_without_pixels_every_ratio_is_undefined():
    scores = pixel_scores(np.zeros((0, 3), dtype=bool), np.zeros((0, 3), dtype=bool))
    assert all(np.isnan(value) for key, value in scores.items() if key.islower() or key in ("F1", "IoU"))


@given(mask_pairs)
def test_swapping_truth_and_prediction_swaps_precision_and_recall(pair):
    one, other = pixel_scores(*pair), pixel_scores(*pair[::-1])
    for key in ("TP", "TN", "F1", "IoU", "binary_accuracy"):
        assert_equal(one[key], other[key])
    assert_equal([one["precision"], one["recall"], one["FP"]], [other["recall"], other["precision"], other["FN"]])
    assert_equal(one["IoU"], mask_iou(*pair))


@given(mask_pairs)
def test_pixel_scores_agree_with_their_definitions(pair):
    truth, prediction = (mask.ravel().tolist() for mask in pair)
    pixels = list(zip(truth, prediction, strict=True))
    scores = pixel_scores(*pair)
    counts = [pixels.count(kind) for kind in ((True, True), (False, True), (True, False), (False, False))]
    assert [scores[key] for key in ("TP", "FP", "FN", "TN")] == counts
    if scores["TP"]:
        harmonic = 2 / (1 / scores["precision"] + 1 / scores["recall"])
        assert scores["F1"] == pytest.approx(harmonic)


@given(mask_pairs, st.integers(0, 3), st.booleans())
def test_scores_of_rotated_masks_are_bit_equal(pair, quarter_turns, mirrored):
    turned = [np.rot90(mask, quarter_turns)[:, :: -1 if mirrored else 1] for mask in pair]
    assert_equal(pixel_scores(*turned), pixel_scores(*pair))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_zeros_and_ones_are_a_mask(dtype):
    a, b = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    assert pixel_scores(a.astype(dtype), b.astype(dtype)) == pixel_scores(a == 1, b == 1)


@pytest.mark.parametrize("values", [[0, 2], [0, -1], [0.0, 0.5], [0.0, np.nan], ["0", "1"]])
def test_other_values_are_no_mask(values):
    for function in (pixel_scores, mask_iou):
        with pytest.raises(ValueError, match="a mask holds"):
            function(np.array(values), np.array([True, False]))


def test_masks_of_different_shapes_are_refused():
    for function in (pixel_scores, mask_iou):
        with pytest.raises(ValueError, match="shapes"):
            function(np.zeros((2, 1), dtype=bool), np.zeros((1, 2), dtype=bool))


# Objects


def test_thresholds():
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_object_scores_of_a_known_pair():
    # Overlaps: 1 with 1 = 4/5; 2 with 2 = 2/4; true 3 and predicted 3 and 4 have no partner.
    truth = np.array([[1, 1, 1, 1, 1, 0, 2, 2, 2, 0, 0, 3, 0, 0]])
    prediction = np.array([[1, 1, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 3, 4]])
    scores = object_scores(truth, prediction, (0.5, 0.8, 0.85))
    assert scores.columns.tolist() == ["threshold", "TP", "FP", "FN", "precision", "recall", "F1", "AP", "PQ"]
    assert scores.to_numpy().tolist() == [
        [0.5, 2, 2, 1, 2 / 4, 2 / 3, 4 / 7, 2 / 5, 2.6 / 7],
        [0.8, 1, 3, 2, 1 / 4, 1 / 3, 2 / 7, 1 / 6, 1.6 / 7],
        [0.85, 0, 4, 3, 0, 0, 0, 0, 0],
    ]
    assert scores["TP"].dtype.kind == "i"


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("scale", [1, 7, 1001])
def test_an_overlap_of_exactly_the_threshold_counts(threshold, scale):
    union, intersection = 20 * scale, round(20 * threshold) * scale
    assert object_scores(*overlap(intersection, union), [threshold])["TP"].tolist() == [1]
    assert object_scores(*overlap(intersection - 1, union), [threshold])["TP"].tolist() == [0]
    assert object_scores(*overlap(intersection + 1, union), [threshold])["TP"].tolist() == [1]


def test_an_object_has_one_partner_at_an_overlap_of_exactly_one_half():
    # The predicted object covers two true ones, each by exactly one half.
    scores = object_scores(stretch(3, 3), stretch(6), [0.5])
    assert scores[["TP", "FP", "FN"]].to_numpy().tolist() == [[1, 0, 1]]


def test_pairs_are_as_many_as_possible():
    # Greedy by overlap pairs 1-1 (4/10), after which the true and the predicted 2 have nobody: 1 pair instead of 2.
    truth = np.array([[1] * 7 + [2] * 3])
    prediction = np.array([[2] * 3 + [1] * 7])
    scores = object_scores(truth, prediction, [0.3])
    assert scores["TP"].tolist() == [2]
    assert np.isnan(scores["PQ"].item())  # it would depend on the pairs chosen


def test_panoptic_quality_does_not_depend_on_which_of_two_halves_is_paired():
    for halves in ((3, 3), (1, 2, 3), (3, 2, 1)):
        row = object_scores(stretch(*halves), stretch(6), [0.5]).iloc[0]
        assert row["PQ"] == 2 * 0.5 / (2 + len(halves) - 1)


def brute_force(truth, prediction, threshold):
    """The largest number of pairs, by trying every assignment."""
    true, predicted = (np.unique(labels[labels > 0]).tolist() for labels in (truth, prediction))
    if len(true) > len(predicted):
        true, predicted, truth, prediction = predicted, true, prediction, truth
    close = {(i, j): mask_iou(truth == i, prediction == j) >= threshold - 1e-9 for i in true for j in predicted}
    return max(sum(close[pair] for pair in zip(true, order, strict=False)) for order in permutations(predicted))


@settings(deadline=None)
@given(label_pairs(4, 5), st.sampled_from((0.55, 0.6, 0.75)))
def test_panoptic_quality_agrees_with_its_definition(pair, threshold):
    true, predicted = (np.setdiff1d(labels, 0).tolist() for labels in pair)
    # Above 0.5 an object has one candidate at most.
    overlaps = [mask_iou(pair[0] == i, pair[1] == j) for i in true for j in predicted]
    quality = object_scores(*pair, [threshold])["PQ"].item()
    if not true and not predicted:
        assert np.isnan(quality)
    else:
        matched = sum(overlap for overlap in overlaps if overlap >= threshold - 1e-9)
        assert quality == pytest.approx(2 * matched / (len(true) + len(predicted)))


@settings(deadline=None)
@given(label_pairs(4, 5), st.sampled_from((0.1, 0.2, 0.25, 0.3, 0.5, 0.6, 0.75)))
def test_pairs_agree_with_trying_every_assignment(pair, threshold):
    row = object_scores(*pair, [threshold]).iloc[0]
    assert row["TP"] == brute_force(*pair, threshold)
    assert row["TP"] + row["FN"] == len(np.setdiff1d(pair[0], 0))
    assert row["TP"] + row["FP"] == len(np.setdiff1d(pair[1], 0))


@settings(deadline=None)
@given(label_pairs(6))
def test_swapping_label_images_swaps_precision_and_recall(pair):
    one, other = object_scores(*pair), object_scores(*pair[::-1])
    renamed = other.rename(columns={"FP": "FN", "FN": "FP", "precision": "recall", "recall": "precision"})
    assert_equal(one.to_numpy(), renamed[one.columns].to_numpy())


@settings(deadline=None)
@given(label_pairs(5), st.permutations(range(1, 6)), st.integers(1, 1000), st.sampled_from((np.int64, np.uint64)))
def test_the_numbers_of_labels_do_not_matter(pair, order, gap, dtype):
    numbers = np.array([0, *(gap * number for number in order)], dtype=dtype)
    renumbered = object_scores(numbers[pair[0]], pair[1])
    assert_equal(renumbered.to_numpy(), object_scores(*pair).to_numpy())
    renumbered = object_scores(pair[0], numbers[pair[1]])
    assert_equal(renumbered.to_numpy(), object_scores(*pair).to_numpy())


@settings(deadline=None)
@given(label_pairs(6))
def test_identical_label_images_have_a_score_of_one(pair):
    scores = object_scores(pair[0], pair[0])
    expected = 1.0 if pair[0].any() else np.nan
    assert_equal(scores[["precision", "recall", "F1", "AP", "PQ"]].to_numpy(), np.full((10, 5), expected))


def test_memory_does_not_grow_with_objects_times_objects():
    # 20,736 objects on each side: a table of all pairs would take 3.4 GB.
    labels = np.kron(np.arange(1, 144**2 + 1, dtype=np.int32).reshape(144, 144), np.ones((8, 8), dtype=np.int32))
    moved = np.roll(labels, 1, axis=1)
    tracemalloc.start()
    try:
        scores = object_scores(labels, moved)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # An object of 8 x 8 pixels moved by one overlaps itself by 7/9 of the union.
    assert scores["TP"].tolist()[5:7] == [144 * 144, 0]
    assert peak < 20 * labels.nbytes


def test_labels_larger_than_the_image_and_no_background():
    truth = np.array([[5, 5, 2**31]], dtype=np.int64)
    prediction = np.array([[2**40, 2**40, 1]], dtype=np.int64)
    assert object_scores(truth, prediction)["F1"].tolist() == [1] * 10
    assert object_scores(truth, np.where(truth == 5, 0, truth))["TP"].tolist() == [1] * 10


def test_without_objects_on_either_side_scores_are_undefined():
    scores = object_scores(np.zeros((2, 2), dtype=int), np.zeros((2, 2), dtype=int))
    assert (scores[["TP", "FP", "FN"]] == 0).all(axis=None)
    assert scores[["precision", "recall", "F1", "AP", "PQ"]].isna().all(axis=None)


def test_without_objects_on_one_side_scores_are_zero():
    for pair in ((stretch(2, 2), stretch(-4)), (stretch(-4), stretch(2, 2))):
        scores = object_scores(*pair)
        assert (scores[["precision", "recall", "F1", "AP", "PQ", "TP"]] == 0).all(axis=None)
        assert (scores["FP"] + scores["FN"] == 2).all()


@pytest.mark.parametrize(
    ("truth", "prediction", "thresholds", "message"),
    [
        (stretch(2), stretch(3), [0.5], "shapes"),
        (stretch(2), -stretch(2), [0.5], "smallest is -1"),
        (stretch(2) > 0, stretch(2), [0.5], "labels are integers"),
        (stretch(2), stretch(2) * 1.0, [0.5], "labels are integers"),
        (stretch(2), stretch(2), [0.0], "above 0"),
        (stretch(2), stretch(2), [1.01], "above 0"),
        (stretch(2), stretch(2), [1e-9], "smallest supported"),
    ],
)
def test_what_object_scores_refuses(truth, prediction, thresholds, message):
    with pytest.raises(ValueError, match=message):
        object_scores(truth, prediction, thresholds)


# An image with its rotations


def test_score_image():
    truth = np.array([[1, 1, 0, 0, 1, 1]], dtype=bool)
    labels = np.array([[1, 1, 0, 0, 7, 7]])
    half = np.array([[1, 1, 0, 0, 0, 0]], dtype=bool)
    rows = score_image(truth, labels, {(90, False): truth, (0, False): half, (0, True): ~truth})
    assert [(row["rotation"], row["mirrored"]) for row in rows] == [(90, False), (0, False), (0, True)]
    assert [row["agreement"] for row in rows] == [0.5, 1, 0]
    assert [row["pixel_F1"] for row in rows] == [1, 2 / 3, 0]
    assert [row["object50_TP"] for row in rows] == [2, 1, 0]
    assert [row["object95_FN"] for row in rows] == [0, 1, 2]
    assert [row["object75_AP"] for row in rows] == [1, 0.5, 0]
    keys = ["TP", "FP", "FN", "TN", "precision", "recall", "F1", "IoU", "binary_accuracy", "mean_pixel_accuracy"]
    levels = [f"object{percent}" for percent in range(50, 100, 5)]
    assert list(rows[0]) == [
        "rotation",
        "mirrored",
        *(f"pixel_{key}" for key in keys),
        *(f"{level}_{key}" for level in levels for key in ("TP", "FP", "FN", "precision", "recall", "F1", "AP", "PQ")),
        "agreement",
    ]


@settings(deadline=None)
@given(mask_pairs)
def test_score_image_agrees_with_the_single_scores(pair):
    truth, prediction = pair
    labels = connected_components(truth)
    row = score_image(truth, labels, {(0, False): truth, (270, True): prediction})[1]
    objects = object_scores(labels, connected_components(prediction))
    for key, value in pixel_scores(truth, prediction).items():
        assert_equal(row[f"pixel_{key}"], value)
    for _, score in objects.iterrows():
        for key in ("TP", "FP", "FN", "precision", "recall", "F1", "AP", "PQ"):
            assert_equal(row[f"object{round(100 * score['threshold'])}_{key}"], score[key])
    assert_equal(row["agreement"], mask_iou(truth, prediction))


def test_score_image_needs_the_image_as_it_is():
    mask = np.zeros((2, 2), dtype=bool)
    with pytest.raises(ValueError, match=r"\(0, False\)"):
        score_image(mask, mask.astype(int), {(90, False): mask})
