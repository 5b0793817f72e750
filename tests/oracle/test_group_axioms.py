"""The groups against matrices: every element as a 2 x 2 matrix of integers, composed by matrix multiplication."""

from itertools import product

import numpy as np
import pytest

from equinuclei.symmetry import IDENTITY, Element, Group

# Columns are the images of the unit vectors along (x, y), y pointing up, as counterclockwise turns are seen.
TURN = np.array([[0, -1], [1, 0]])
MIRROR = np.array([[-1, 0], [0, 1]])


def matrix(element: Element) -> np.ndarray:
    turned = np.linalg.matrix_power(TURN, element.quarter_turns)
    return turned @ MIRROR if element.mirrored else turned


def test_elements_are_the_eight_symmetries_of_the_square():
    matrices = {matrix(element).tobytes() for element in Group.P4M.elements}
    signed_permutations = {
        (np.diag([a, b]) if straight else np.diag([a, b])[:, ::-1]).tobytes()
        for a, b, straight in product((1, -1), (1, -1), (True, False))
    }
    assert matrices == signed_permutations and len(matrices) == 8


@pytest.mark.parametrize("group", Group)
def test_composition_and_inverse_are_those_of_the_matrices(group):
    for g, h in product(group.elements, repeat=2):
        np.testing.assert_array_equal(matrix(g @ h), matrix(g) @ matrix(h))
        assert g @ h in group.elements
    for g in group.elements:
        np.testing.assert_array_equal(matrix(g) @ matrix(g.inverse), np.eye(2))
        assert g @ IDENTITY == IDENTITY @ g == g


def test_the_action_moves_pixels_as_the_matrices_move_points():
    """A pixel at (x, y) from the centre of a 5 x 5 image goes where the matrix sends its place."""
    for element in Group.P4M.elements:
        for x, y in product(range(-2, 3), repeat=2):
            image = np.zeros((5, 5))
            image[2 - y, 2 + x] = 1
            u, v = matrix(element) @ (x, y)
            assert element(image)[2 - v, 2 + u] == 1
