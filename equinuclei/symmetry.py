"""The symmetry groups of a square pixel grid: trivial, p4 (quarter turns) and p4m (quarter turns and mirrors).

An element applies its mirror (a flip of the last axis), if it has one, and then its quarter turns. A rotation by k
quarter turns is `numpy.rot90(image, k, axes=(-2, -1))`. With R a quarter turn and M the mirror, M R = R^-1 M.

The groups act on images by f -> g.f, and on feature maps F (one image per element h) by (g.F)[h] = g.(F[g^-1 h]).
Both actions and the filter banks follow Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, sections
4 and 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # arrays are turned without torch
    import torch

Grid = TypeVar("Grid", np.ndarray, "torch.Tensor")
"""An array or tensor whose last two axes are (y, x)."""


@dataclass(frozen=True, order=True)
class Element:
    """One symmetry of the square: an optional mirror, followed by quarter turns."""

    quarter_turns: int
    mirrored: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.quarter_turns < 4:
            raise ValueError(f"quarter_turns must be 0, 1, 2 or 3, not {self.quarter_turns}")

    @property
    def degrees(self) -> int:
        """The rotation in degrees: 0, 90, 180 or 270."""
        return 90 * self.quarter_turns

    @property
    def name(self) -> str:
        """Name in files and columns, for example `rotated_090` or `mirrored_rotated_090`."""
        return f"{'mirrored_' if self.mirrored else ''}rotated_{self.degrees:03d}"

    def __matmul__(self, other: "Element") -> "Element":
        """The composition: `(g @ h)` acts as h first, then g."""
        turns = -other.quarter_turns if self.mirrored else other.quarter_turns
        return Element((self.quarter_turns + turns) % 4, self.mirrored != other.mirrored)

    @property
    def inverse(self) -> "Element":
        """The element that undoes this one. A mirrored element is its own inverse."""
        return self if self.mirrored else Element(-self.quarter_turns % 4)

    def __call__(self, grid: Grid) -> Grid:
        """Transform the last two axes (y, x) of a numpy array or a torch tensor; the result may be a view."""
        if isinstance(grid, np.ndarray):
            return np.rot90(np.flip(grid, axis=-1) if self.mirrored else grid, self.quarter_turns, axes=(-2, -1))
        return (grid.flip(-1) if self.mirrored else grid).rot90(self.quarter_turns, (-2, -1))


IDENTITY = Element(0)


class Group(StrEnum):
    """A group by its name in the configuration, `Group("p4")`; equal to the plain string."""

    TRIVIAL = "trivial"
    P4 = "p4"
    P4M = "p4m"

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """All elements: the identity first, pure rotations before mirrored ones."""
        mirrors = (False, True) if self is Group.P4M else (False,)
        turns = range(1) if self is Group.TRIVIAL else range(4)
        return tuple(Element(k, m) for m in mirrors for k in turns)

    @property
    def order(self) -> int:
        """The number of elements: 1, 4 or 8."""
        return len(self.elements)

    def position(self, element: Element) -> int:
        """Index of an element in `elements`. Raises ValueError if the group does not contain it."""
        return self.elements.index(element)


def filter_bank_index(group: Group, kernel_size: int, *, lifting: bool) -> np.ndarray:
    """Which filter tap each tap of a group convolution's filter bank is a copy of.

    A filter psi is a stack of S kernels, one per element of the input's group (S = |G|, or S = 1 for a lifting
    convolution, whose input is an image). For output element h and input element k, the bank holds h.(psi[h^-1 k]).

    Returns an int64 array of shape (G, S, kernel_size, kernel_size) of positions in the flattened (S, kernel_size,
    kernel_size) filter.
    """
    stack = 1 if lifting else group.order
    positions = np.arange(stack * kernel_size**2, dtype=np.int64).reshape(stack, kernel_size, kernel_size)
    bank = [
        [h(positions[0 if lifting else group.position(h.inverse @ k)]) for k in group.elements[:stack]]
        for h in group.elements
    ]
    return np.array(bank, dtype=np.int64)


def act_on_features(element: Element, features: Grid, group: Group) -> Grid:
    """Transform G-major features [N, G*C, H, W] (array or tensor): (g.F)[h] = g.(F[g^-1 h])."""
    n, channels, height, width = features.shape
    split = features.reshape(n, group.order, channels // group.order, height, width)
    order = [group.position(element.inverse @ h) for h in group.elements]
    moved = element(split[:, order])
    return moved.reshape(n, channels, *moved.shape[-2:])


def mean_over_coset(terms: Mapping[Element, Grid]) -> Grid:
    """Mean over one grid per element of a left coset s.H (or a whole group), bit-identical under its transformations.

    Floating-point addition is commutative but not associative: the last bits of a sum in a fixed order change when g
    moves each term from h to g h. The terms are therefore added along a tree of nested left cosets: first {x, x r^2},
    then all rotations, then both halves. An element g maps every branch of this tree onto a branch. There are 1, 2, 4
    or 8 terms, and division by these numbers is exact.
    """
    total: Grid | None = None
    for mirrored in (False, True):
        half: Grid | None = None
        for turns in (0, 1):
            pair = _add(terms.get(Element(turns, mirrored)), terms.get(Element(turns + 2, mirrored)))
            half = _add(half, pair)
        total = _add(total, half)
    if total is None:
        raise ValueError("cannot average over no elements")
    return total / len(terms)


def canonical_elements(image: np.ndarray) -> tuple[Element, ...]:
    """The elements of p4m that bring an image (y, x) into its canonical orientation: the smallest of its eight views.

    Views are compared by shape and then by the bytes of their rows, from the first row on; any total order would do. An
    image with a symmetry of its own has several such elements (a blank well has eight): a right coset of its symmetry
    group.
    """
    views = {element: element(image) for element in Group.P4M.elements}
    smallest = min(view.shape for view in views.values())
    candidates = [element for element, view in views.items() if view.shape == smallest]
    for row in range(smallest[0]):
        if len(candidates) == 1:
            break
        rows = {element: views[element][row].tobytes() for element in candidates}
        least = min(rows.values())
        candidates = [element for element in candidates if rows[element] == least]
    return tuple(candidates)


def _add(a: Grid | None, b: Grid | None) -> Grid | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
