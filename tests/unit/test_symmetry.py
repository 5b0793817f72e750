"""The group axioms, and the actions on grids and features."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.symmetry import (
    IDENTITY,
    Element,
    Group,
    act_on_features,
    canonical_elements,
    filter_bank_index,
    mean_over_coset,
)

elements = st.builds(Element, st.integers(0, 3), st.booleans())
grids = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(lambda shape: np.arange(np.prod(shape)).reshape(shape))


@pytest.mark.parametrize("group", Group)
def test_a_group_is_closed_and_holds_identity_and_inverses(group):
    assert group.elements[0] == IDENTITY
    assert len(set(group.elements)) == group.order == {"trivial": 1, "p4": 4, "p4m": 8}[group]
    assert {g @ h for g, h in product(group.elements, repeat=2)} == set(group.elements)
    for g in group.elements:
        assert g @ g.inverse == g.inverse @ g == IDENTITY


@given(elements, elements, elements)
def test_composition_is_associative(f, g, h):
    assert (f @ g) @ h == f @ (g @ h)


@given(elements, elements, grids)
def test_the_action_on_a_grid_composes(g, h, grid):
    np.testing.assert_array_equal((g @ h)(grid), g(h(grid)))


@given(elements, grids)
def test_arrays_and_tensors_are_moved_alike(g, grid):
    np.testing.assert_array_equal(g(torch.from_numpy(grid)).numpy(), g(grid))


def test_a_quarter_turn_is_numpys_and_a_mirror_flips_x():
    grid = np.array([[1, 2], [3, 4]])
    assert Element(1)(grid).tolist() == [[2, 4], [1, 3]]
    assert Element(0, mirrored=True)(grid).tolist() == [[2, 1], [4, 3]]
    assert Element(1, mirrored=True)(grid).tolist() == [[1, 3], [2, 4]]


def test_an_element_tells_its_turn_and_name():
    assert Element(3).degrees == 270
    assert Element(1, mirrored=True).name == "mirrored_rotated_090"
    with pytest.raises(ValueError, match="quarter_turns"):
        Element(4)


@pytest.mark.parametrize("group", Group)
def test_the_action_on_features_composes(group):
    features = np.random.default_rng(0).normal(size=(2, 3 * group.order, 4, 6))
    for g, h in product(group.elements, repeat=2):
        expected = act_on_features(g @ h, features, group)
        np.testing.assert_array_equal(act_on_features(g, act_on_features(h, features, group), group), expected)


@pytest.mark.parametrize("group", Group)
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_every_output_element_uses_every_tap_of_a_filter_once(group, kernel_size):
    index = filter_bank_index(group, kernel_size, lifting=False)
    assert index.shape == (group.order, group.order, kernel_size, kernel_size)
    for taps in index:
        assert sorted(taps.ravel()) == list(range(group.order * kernel_size**2))


SUBGROUPS = [
    frozenset(members)
    for size in (1, 2, 4, 8)
    for members in combinations(Group.P4M.elements, size)
    if IDENTITY in members and {g @ h for g, h in product(members, repeat=2)} <= set(members)
]


def test_p4m_has_ten_subgroups():
    assert len(SUBGROUPS) == 10


@given(st.sampled_from(SUBGROUPS), elements, elements, st.integers(0, 2**32 - 1))
def test_a_mean_over_a_coset_is_bit_identical_when_the_coset_is_turned(subgroup, s, g, seed):
    rng = np.random.default_rng(seed)
    terms = {s @ h: rng.normal(size=20).astype(np.float32) * 10.0 ** rng.integers(-3, 4, 20) for h in subgroup}
    mean = mean_over_coset(terms)
    np.testing.assert_array_equal(mean_over_coset({g @ h: term for h, term in terms.items()}), mean)
    np.testing.assert_allclose(mean, np.mean([*terms.values()], axis=0), rtol=1e-4, atol=1e-3)


def test_a_mean_over_nothing_is_refused():
    with pytest.raises(ValueError, match="no elements"):
        mean_over_coset({})


@given(elements, st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_canonical_orientation_is_the_same_for_all_transforms(g, height, width, values, seed):
    image = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    found, of_moved = canonical_elements(image), canonical_elements(g(image))
    np.testing.assert_array_equal(of_moved[0](g(image)), found[0](image))
    for element in found:
        np.testing.assert_array_equal(element(image), found[0](image))
    assert {element @ g for element in of_moved} == set(found)
    symmetries = sum(image.shape == h(image).shape and (image == h(image)).all() for h in Group.P4M.elements)
    assert len(found) == symmetries
