"""The symmetry groups of a square pixel grid: trivial, p4 (quarter turns) and p4m (quarter turns and mirrors).

An element first mirrors (flips the last axis) if it is mirrored, then turns by a number of quarter turns. A turn by k
is `numpy.rot90(image, k, axes=(-2, -1))`. With R a quarter turn and M the mirror, M R = R^-1 M.

The groups act on images by f -> g.f, on feature maps F (one image per element h) by (g.F)[h] = g.(F[g^-1 h]).
Source of both actions and of the filter banks: Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016,
sections 4 and 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np


class PixelGrid(Protocol):
    """An array or tensor whose last two axes are (y, x)."""

    ndim: int


Grid = TypeVar("Grid", bound=PixelGrid)


@dataclass(frozen=True, order=True)
class Element:
    """One symmetry of the square: an optional mirror, then quarter turns."""

    quarter_turns: int
    mirrored: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.quarter_turns < 4:
            raise ValueError(f"quarter_turns must be 0, 1, 2 or 3, not {self.quarter_turns}")

    @property
    def degrees(self) -> int:
        """The turn in degrees: 0, 90, 180 or 270."""
        return 90 * self.quarter_turns

    @property
    def name(self) -> str:
        """Name for files and columns, for example `rotated_090` or `mirrored_rotated_090`."""
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
        """Act on the last two axes (y, x) of a numpy array or a torch tensor.

        Returns the same kind, possibly a view.
        """
        if isinstance(grid, np.ndarray):
            mirrored = np.flip(grid, axis=-1) if self.mirrored else grid
            return np.rot90(mirrored, self.quarter_turns, axes=(-2, -1))
        mirrored = grid.flip(-1) if self.mirrored else grid
        return mirrored.rot90(self.quarter_turns, (-2, -1))


IDENTITY = Element(0)


class Group(StrEnum):
    """A group by its name in the configuration: `Group("p4")`. Equal to the plain string."""

    TRIVIAL = "trivial"
    P4 = "p4"
    P4M = "p4m"

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """All elements; the identity is the first, and quarter turns precede mirrored ones."""
        mirrors = (False, True) if self is Group.P4M else (False,)
        turns = range(1) if self is Group.TRIVIAL else range(4)
        return tuple(Element(k, m) for m in mirrors for k in turns)

    @property
    def order(self) -> int:
        """The number of elements: 1, 4 or 8."""
        return len(self.elements)

    def index(self, element: Element) -> int:
        """Position of an element in `elements`. Raises ValueError if the group does not contain it."""
        return self.elements.index(element)


def filter_bank_index(group: Group, kernel_size: int, *, lifting: bool) -> np.ndarray:
    """Where every tap of a group convolution's filter bank comes from.

    A filter psi is a stack of S kernels, one per element of the input's group (S = |G|; S = 1 when lifting from an
    image). The bank holds, for output element h and input element k, the kernel h.(psi[h^-1 k]).

    Returns an int64 array of shape (G, S, kernel_size, kernel_size) of positions in the flattened (S, kernel_size,
    kernel_size) filter.
    """
    stack = 1 if lifting else group.order
    positions = np.arange(stack * kernel_size**2, dtype=np.int64).reshape(stack, kernel_size, kernel_size)
    bank = [
        [h(positions[0 if lifting else group.index(h.inverse @ k)]) for k in group.elements[:stack]]
        for h in group.elements
    ]
    return np.array(bank, dtype=np.int64)


def act_on_features(element: Element, features: Grid, group: Group) -> Grid:
    """Act on G-major features [N, G*C, H, W] (array or tensor): (g.F)[h] = g.(F[g^-1 h])."""
    n, channels, height, width = features.shape
    split = features.reshape(n, group.order, channels // group.order, height, width)
    order = [group.index(element.inverse @ h) for h in group.elements]
    moved = element(split[:, order])
    return moved.reshape(n, channels, *moved.shape[-2:])


def mean_over_coset(terms: Mapping[Element, Grid]) -> Grid:
    """The mean of one grid per element of a left coset s.H (or a whole group), bit-identical when the coset is turned.

    Floating-point addition commutes but does not associate: a sum in a fixed order changes in its last bits when g
    permutes its terms from h to g h. So the terms are added as a tree of nested left cosets, {x, x r^2}, then the
    rotations and the mirrored ones: g maps every branch of the tree onto a branch. The number of terms is 1, 2, 4 or
    8, by which a division is exact.
    """
    total = None
    for mirrored in (False, True):
        half = None
        for turns in (0, 1):
            pair = _add(terms.get(Element(turns, mirrored)), terms.get(Element(turns + 2, mirrored)))
            half = _add(half, pair)
        total = _add(total, half)
    if total is None:
        raise ValueError("a mean over no elements")
    return total / len(terms)


def canonical_elements(image: np.ndarray) -> tuple[Element, ...]:
    """The elements of p4m that turn an image (y, x) into its canonical orientation: the smallest of the eight images.

    "Smallest" is by the bytes of its rows, the first row first (and by the shape before that, where height and width
    differ): any total order serves. Several elements are returned where the image has a symmetry of its own (a blank
    well has eight); they form a right coset of it.
    """
    views = {element: element(image) for element in Group.P4M.elements}
    smallest = min(view.shape for view in views.values())
    left = [element for element, view in views.items() if view.shape == smallest]
    for row in range(smallest[0]):
        if len(left) == 1:
            break
        rows = {element: views[element][row].tobytes() for element in left}
        least = min(rows.values())
        left = [element for element in left if rows[element] == least]
    return tuple(left)


def _add(a: Grid | None, b: Grid | None) -> Grid | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
