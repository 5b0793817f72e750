"""Mask kinds: worked examples, invariants on random masks, and unusable masks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from skimage.measure import label

from equinuclei.errors import InputError
from equinuclei.images.masks import check_mask, check_settings, to_binary, to_distance, to_instances, to_three_class
from equinuclei.symmetry import Group

SHAPES = stn.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
BORDER_AS = st.sampled_from(["background", "nucleus"])
BRIFISEG = {"background": 0, "nucleus": 1, "border": 2}

TWO = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 5, 5, 5, 9, 9, 9, 0],
        [0, 5, 5, 5, 9, 9, 9, 0],
        [0, 5, 5, 5, 9, 9, 9, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ],
    np.uint16,
)


def masks(kind: str) -> st.SearchStrategy[np.ndarray]:
    if kind == "binary":
        return st.builds(
            lambda mask, value: mask.astype(np.uint8) * np.uint8(value),
            stn.arrays(bool, SHAPES),
            st.integers(1, 255),
        )
    values = st.integers(0, 2) if kind == "three_class" else st.sampled_from([0, 0, 3, 4, 1000, 65535])
    return stn.arrays(np.uint16, SHAPES, elements=values)


def any_mask() -> st.SearchStrategy[tuple[str, np.ndarray]]:
    return st.sampled_from(["three_class", "instances", "binary"]).flatmap(
        lambda kind: st.tuples(st.just(kind), masks(kind))
    )


def test_border_of_touching_nuclei():
    expected = [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, 2, 1, 1, 2, 1, 0],
        [0, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(to_three_class(TWO, "instances"), expected)
    np.testing.assert_array_equal(to_binary(TWO, "instances"), np.array(expected) == 2)
    assert to_instances(TWO, "instances")[2].tolist() == [0, 0, 1, 0, 0, 2, 0, 0]


def test_nucleus_at_the_edge_has_no_border_there():
    mask = np.zeros((4, 5), np.uint8)
    mask[:, :3] = 1
    assert to_three_class(mask, "instances").tolist() == [[2, 2, 1, 0, 0]] * 4


def test_instances_are_renumbered():
    labels = to_instances(TWO, "instances", border_as="nucleus")
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, np.select([TWO == 5, TWO == 9], [1, 2]))


def test_three_class_codes():
    mask = np.array([[0, 2, 1, 1, 2, 0]], np.uint8)
    assert to_three_class(mask, "three_class", BRIFISEG).tolist() == [[0, 1, 2, 2, 1, 0]]
    assert to_binary(mask, "three_class", BRIFISEG).tolist() == [[False, False, True, True, False, False]]
    assert to_binary(mask, "three_class", BRIFISEG, "nucleus").tolist() == [[False, True, True, True, True, False]]


def test_border_goes_to_the_nearest_nucleus():
    classes = np.array([[2, 1, 1, 1, 2, 0, 1, 1]], np.uint8)
    labels = to_instances(classes, "three_class", border_as="nucleus")
    assert labels[0, [0, 1, 3, 4]].tolist() == [1, 1, 2, 2]
    assert labels[0, 5] == 0
    assert labels[0, 6:].tolist() == [3, 3]  # border without nucleus


def test_border_alone():
    labels = to_instances(np.array([[1, 0, 1, 1]], np.uint8), "three_class", border_as="nucleus")
    assert labels.tolist() == [[1, 0, 2, 2]]
    labels = to_instances(np.array([[2, 0], [0, 1]], np.uint8), "three_class", border_as="nucleus")
    assert labels.tolist() == [[1, 0], [0, 2]]


def test_components_are_four_connected():
    diagonal = np.eye(3, dtype=np.uint8)
    assert to_instances(diagonal, "binary").max() == 3
    assert to_instances(diagonal * 2, "three_class").max() == 3


def test_many_nuclei_need_uint32():
    mask = np.zeros((513, 513), np.uint8)
    mask[::2, ::2] = 1
    labels = to_instances(mask, "binary")
    assert labels.max() == 257**2
    assert labels.dtype == np.uint32


@settings(deadline=None)
@given(any_mask(), BORDER_AS)
def test_instances_cover_exactly_the_binary_mask(drawn, border_as):
    kind, mask = drawn
    check_mask(mask, kind)
    binary = to_binary(mask, kind, border_as=border_as)
    labels = to_instances(mask, kind, border_as=border_as)
    assert binary.dtype == bool
    assert labels.dtype in (np.uint16, np.uint32)
    np.testing.assert_array_equal(binary, labels > 0)
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max(initial=0) + 1))


@settings(deadline=None)
@given(st.sampled_from(["three_class", "instances"]).flatmap(lambda k: st.tuples(st.just(k), masks(k))), BORDER_AS)
def test_three_classes_agree_with_binary(drawn, border_as):
    kind, mask = drawn
    classes = to_three_class(mask, kind)
    assert classes.dtype == np.uint8
    nucleus = classes > 0 if border_as == "nucleus" else classes == 2
    np.testing.assert_array_equal(to_binary(mask, kind, border_as=border_as), nucleus)


@settings(deadline=None)
@given(masks("instances"))
def test_border_follows_its_definition(mask):
    classes = to_three_class(mask, "instances")
    padded = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            at_border = (padded[y : y + 3, x : x + 3] != mask[y, x]).any()
            assert classes[y, x] == (0 if mask[y, x] == 0 else 1 if at_border else 2)


@settings(deadline=None)
@given(masks("instances"))
def test_nuclei_come_apart_without_their_border(mask):
    labels = to_instances(mask, "instances")
    for a, b in (*pairwise(labels), *pairwise(labels.T)):
        assert not ((a != b) & (a > 0) & (b > 0)).any()


@settings(deadline=None)
@given(any_mask(), BORDER_AS, st.integers(0, 3), st.booleans())
def test_classes_do_not_depend_on_orientation(drawn, border_as, quarter_turns, mirrored):
    kind, mask = drawn

    def turn(array):
        return np.rot90(array[:, ::-1] if mirrored else array, quarter_turns)

    functions = [lambda m: to_binary(m, kind, border_as=border_as)]
    if kind != "binary":
        functions.append(lambda m: to_three_class(m, kind))
    for function in functions:
        np.testing.assert_array_equal(function(turn(mask)), turn(function(mask)))


def test_distance_by_hand():
    # Two nuclei that touch in the middle, one cut by the left end of the image.
    mask = np.array([[5, 5, 5, 5, 9, 9, 9, 0]], np.uint8)
    expected = np.rint(255 * np.array([4 / 4, 3 / 4, 2 / 4, 1 / 4, 1 / 2, 1, 1 / 2, 0]))
    assert to_distance(mask, "instances", border_as="nucleus").tolist() == [expected.tolist()]
    whole = to_distance(np.full((2, 3), 7, np.uint8), "instances", border_as="nucleus")
    assert whole.tolist() == [[255] * 3] * 2
    # Without its border the second nucleus is one pixel, the first three.
    third = 255 / 3
    assert to_distance(mask, "instances").tolist() == [[255, round(2 * third), round(third), 0, 0, 255, 0, 0]]
    # The pixel between is as near to one as to the other.
    classes = np.array([[0, 2, 2, 1, 2, 2, 0]], np.uint8)
    assert to_distance(classes, "three_class", border_as="nucleus").tolist() == [[0, 255, 255, 1, 255, 255, 0]]
    with pytest.raises(InputError, match="does not distinguish touching nuclei"):
        to_distance(mask > 0, "binary")


@settings(deadline=None, max_examples=50)
@given(masks("instances"), BORDER_AS)
def test_distance_follows_its_definition(mask, border_as):
    distance = to_distance(mask, "instances", border_as=border_as)
    labels = to_instances(mask, "instances", border_as=border_as)
    assert distance.dtype == np.uint8
    np.testing.assert_array_equal(distance > 0, to_binary(mask, "instances", border_as=border_as))
    for number in range(1, labels.max(initial=0) + 1):
        inside, outside = np.argwhere(labels == number), np.argwhere(labels != number)
        if len(outside):
            nearest = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(axis=2).min(axis=1))
            expected = np.maximum(np.rint(255 * nearest / nearest.max()), 1)
            np.testing.assert_array_equal(distance[labels == number], expected)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["three_class", "instances"]).flatmap(lambda k: st.tuples(st.just(k), masks(k))),
    BORDER_AS,
    st.permutations([3, 4, 1000, 65535]),
)
def test_distance_depends_neither_on_orientation_nor_on_numbers(drawn, border_as, numbers):
    kind, mask = drawn
    distance = to_distance(mask, kind, border_as=border_as)
    np.testing.assert_array_equal(distance > 0, to_binary(mask, kind, border_as=border_as))
    for g in Group.P4M.elements:
        turned = to_distance(np.ascontiguousarray(g(mask)), kind, border_as=border_as)
        np.testing.assert_array_equal(turned, g(distance))
    if kind == "instances":
        renamed = np.select([mask == old for old in (3, 4, 1000, 65535)], numbers, 0).astype(np.uint16)
        np.testing.assert_array_equal(to_distance(renamed, kind, border_as=border_as), distance)


@settings(deadline=None)
@given(masks("three_class"))
def test_growing_keeps_the_nuclei(classes):
    labels = to_instances(classes, "three_class", border_as="nucleus")
    nuclei = label(classes == 2, connectivity=1)
    np.testing.assert_array_equal(labels[classes == 2], nuclei[classes == 2])


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        ([[0, 1, 2, 7, 9]], "three_class", r"holds the values 7, 9; its codes are background 0, border 1, nucleus 2"),
        ([list(range(20))], "three_class", "3, 4, 5, 6, 7 and 12 more"),
        ([[0, 1, 2]], "binary", "holds the values 0, 1, 2"),
        ([[3, 4]], "binary", "holds the values 3, 4"),
        ([[0, 1]], "semantic", "mask kind 'semantic'"),
    ],
)
def test_unusable_mask(mask, kind, message):
    with pytest.raises(InputError, match=message):
        check_mask(np.array(mask, np.uint8), kind)


@pytest.mark.parametrize("values", [[0], [7], [0, 255]])
def test_usable_binary_mask(values):
    check_mask(np.array([values], np.uint8), "binary")


def test_instances_may_hold_any_value():
    check_mask(np.array([[0, 7, 65535]], np.uint16), "instances")


@pytest.mark.parametrize("codes", [{"nucleus": 1}, {"nuclei": 2}, {"background": 0, "border": 2, "nucleus": 2}])
def test_unusable_codes(codes):
    with pytest.raises(InputError, match="three different numbers"):
        check_settings("three_class", codes)


def test_unusable_border_as():
    with pytest.raises(InputError, match="border_as 'border'"):
        to_binary(np.zeros((2, 2), np.uint8), "binary", border_as="border")
    with pytest.raises(InputError, match="border_as"):
        check_settings("binary", border_as="none")


def test_binary_has_no_three_classes():
    with pytest.raises(InputError, match="cannot be made from a binary mask"):
        to_three_class(np.zeros((2, 2), np.uint8), "binary")
