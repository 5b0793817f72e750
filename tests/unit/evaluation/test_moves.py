"""Turns between the quarter turns, and shifts: what is shown, and which region is scored."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.evaluation.moves import (
    GRID,
    SHIFTS,
    TURNS,
    common_window,
    crop_window,
    inscribed_disc,
    moves_of,
    shifts_of,
    turn_image,
    turn_labels,
)

SIZES = st.integers(33, 200)


@given(SIZES, SIZES)
@settings(deadline=None, max_examples=40)
def test_a_turn_keeps_the_disc_within_the_image_and_lies_on_itself(height, width):
    disc = inscribed_disc(height, width)
    y, x = np.nonzero(disc)
    points = np.stack([y - (height - 1) / 2, x - (width - 1) / 2])
    for degrees in (*TURNS, 60, 75, 90):
        angle = np.deg2rad(degrees)
        c, s = np.cos(angle), np.sin(angle)
        for axis, size in zip(np.array([[c, s], [-s, c]]) @ points, (height, width), strict=True):
            assert np.abs(axis).max() <= (size - 1) / 2 + 1e-9
    assert max(disc.any(axis=1).sum(), disc.any(axis=0).sum()) >= min(height, width) - 2
    assert disc.sum() > 0.6 * min(height, width) ** 2
    if height == width:
        np.testing.assert_array_equal(np.rot90(disc), disc)


@given(SIZES, SIZES)
@settings(deadline=None, max_examples=40)
def test_crops_of_one_size_lie_within_the_image_and_overlap_in_half_at_least(height, width):
    everything = np.arange(height * width).reshape(height, width)
    shifts = shifts_of(height, width)
    assert shifts == sorted(set(shifts) & set(SHIFTS))
    if min(height, width) >= 3 * GRID:
        assert shifts == list(SHIFTS)
    for shift in shifts:
        first, second = (everything[crop_window(height, width, of)] for of in (0, shift))
        assert first.shape == second.shape and not any(size % GRID for size in first.shape)
        both = np.intersect1d(first, second)
        np.testing.assert_array_equal(everything[common_window(height, width, shift)].ravel(), both)
        assert both.size * 4 >= first.size
        np.testing.assert_array_equal(first[shift:, shift:], second[:-shift, :-shift])


def test_a_shift_is_down_and_to_the_right_about_the_middle_of_the_image():
    assert crop_window(256, 320, 0) == (slice(0, 224), slice(0, 288))
    assert crop_window(256, 320, 32) == (slice(32, 256), slice(32, 320))
    assert common_window(256, 320, 32) == (slice(32, 224), slice(32, 288))


def test_images_that_are_too_small_are_turned_alone():
    assert [move.name for move in moves_of(63, 300)] == ["turned_015", "turned_030", "turned_045"]
    assert [move.name for move in moves_of(72, 90)][3:] == [f"shifted_{n:02d}" for n in (0, 1, 2, 4, 8, 15, 16)]


def test_a_quarter_turn_is_that_of_numpy_and_other_turns_add_up_to_it():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, (41, 41)).astype(np.int32)
    np.testing.assert_array_equal(turn_labels(labels, 90), np.rot90(labels))
    y, x = np.mgrid[:61, :61] / 10
    smooth = np.sin(y) * np.cos(1.3 * x) + 0.2 * x
    turned = turn_image(turn_image(smooth, 45), 45)
    disc = inscribed_disc(55, 55)
    assert turned.dtype == np.float32
    # What was mirrored beyond the border does not reach far into the disc.
    np.testing.assert_allclose(turned[3:-3, 3:-3][disc], np.rot90(smooth)[3:-3, 3:-3][disc], atol=0.01)


def test_image_and_truth_are_turned_alike():
    y, x = np.mgrid[:80, :96]
    nucleus = (y - 25) ** 2 + (x - 60) ** 2 <= 81
    for degrees in TURNS:
        image, truth = turn_image(1000.0 * nucleus, degrees) > 500, turn_labels(nucleus, degrees)
        assert truth.dtype == bool and abs(int(truth.sum()) - int(nucleus.sum())) <= 6
        assert (image & truth).sum() / (image | truth).sum() > 0.93
