"""Simulated microscopy of seven cell lines with exact truth.

A sample is drawn once (outlines of nuclei and of the cells around them, nucleoli, chromatin) and then imaged by two
simulated microscopes: a fluorescence microscope that shows stained DNA, and a brightfield microscope that shows how
thickness bends light. Both see the same nuclei, and the truth is the sample itself, not a person's annotation.

Everything depends on the seed alone, so a simulated data set can be made again instead of being stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from equinuclei.errors import InputError, check_known
from equinuclei.images.masks import to_three_class
from equinuclei.simulation.cell_lines import CELL_LINES
from equinuclei.simulation.microscopes import brightfield, fluorescence
from equinuclei.simulation.samples import REFERENCE_AREA, draw_sample, margin_of

SMALLEST_SIDE = 32
SCALES = (0.5, 8.0)
MOST_NUCLEI = 50_000  # instance labels are uint16


@dataclass(frozen=True)
class Field:
    """One simulated field: two images of the same nuclei, and the truth. All arrays are (y, x) and of one shape."""

    images: dict[str, np.ndarray] = field(repr=False)
    """`fluorescence` and `brightfield`: uint16, camera counts."""
    instances: np.ndarray = field(repr=False)
    """uint16: 0 is background, 1 to n are the nuclei. Each label is one 4-connected component."""
    three_class: np.ndarray = field(repr=False)
    """uint8: 0 background, 1 border, 2 nucleus."""


def simulate_field(cell_line: str, seed: int | Sequence[int], height: int, width: int, *, scale: float = 1.0) -> Field:
    """Simulate one field of a cell line in both modalities.

    Parameters
    ----------
    cell_line
        A name in `CELL_LINES`.
    seed
        Not negative, or several such numbers. Equal seeds give equal fields.
    height, width
        Size of the field in pixels, at least 32.
    scale
        Magnification, 0.5 to 8. At a scale of 2, nuclei have twice the radius in pixels and the field shows a quarter
        of the area; the noise per pixel is the same.

    Returns
    -------
    A field with at least one nucleus.

    Raises
    ------
    InputError
        If an argument is invalid.
    """
    check_known("cell line", cell_line, CELL_LINES)
    check_seed(seed)
    check_size(height, width, scale)
    rng = np.random.default_rng(seed)
    sample = draw_sample(CELL_LINES[cell_line], rng, height, width, scale)
    instances = sample.inside(sample.labels)
    instances = np.where(instances <= sample.seen, instances, 0).astype(np.uint16)
    images = {
        "fluorescence": sample.inside(fluorescence(sample, rng)),
        "brightfield": sample.inside(brightfield(sample, rng)),
    }
    return Field(images=images, instances=instances, three_class=to_three_class(instances, "instances"))


def check_seed(seed: int | Sequence[int]) -> None:
    """Raise InputError unless a seed is a whole number of 0 or more, or a sequence of such numbers."""
    numbers = [seed] if isinstance(seed, int | np.integer) else seed
    if isinstance(numbers, str) or not all(isinstance(n, int | np.integer) and n >= 0 for n in numbers):
        raise InputError(f"seed: {seed!r} is not a whole number of 0 or more")


def check_size(height: int, width: int, scale: float) -> None:
    """Raise InputError for a size or scale of a field that `simulate_field` does not support."""
    for name, length in (("height", height), ("width", width)):
        if not isinstance(length, int | np.integer) or length < SMALLEST_SIDE:
            raise InputError(f"{name}: {length!r} is not a whole number of pixels, {SMALLEST_SIDE} or more")
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(f"scale: {scale!r} is not a number from {SCALES[0]:g} to {SCALES[1]:g}")
    for line in CELL_LINES.values():
        margin = margin_of(line, scale)
        area = (height + 2 * margin) * (width + 2 * margin)
        if 1.5 * line.density * area / (REFERENCE_AREA * scale**2) < MOST_NUCLEI:
            continue
        raise InputError(
            f"height, width: a field of {height} x {width} pixels at scale {scale:g} could hold more than "
            f"{MOST_NUCLEI} nuclei: choose a smaller field or a larger scale"
        )
