"""Masks of nuclei: three classes, instances, or binary; and what the border counts as.

A *three-class* mask holds a code for background, border and nucleus. An *instances* mask holds a number per nucleus
and 0. A *binary* mask holds 0 and at most one other value. All masks are (y, x).

`border_as` says what the one-pixel border of a nucleus counts as: "background" (so that touching nuclei come apart)
or "nucleus". The border of an instance mask is derived: the outermost pixels inside every nucleus.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import expand_labels, find_boundaries, relabel_sequential

from equinuclei.errors import InputError
from equinuclei.symmetry import Group

KINDS = ("three_class", "instances", "binary")
CLASSES = ("background", "border", "nucleus")
BACKGROUND, BORDER, NUCLEUS = 0, 1, 2

Codes = Mapping[str, int]
"""Pixel value of each of the classes background, border and nucleus in a three-class mask."""

DEFAULT_CODES: Codes = {"background": BACKGROUND, "border": BORDER, "nucleus": NUCLEUS}


def check_settings(kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background") -> None:
    """Check what a configuration says about masks.

    Raises
    ------
    InputError
        If the kind or `border_as` is unknown, or the codes are not three different numbers.
    """
    _check_kind(kind)
    _check_border_as(border_as)
    _complete(codes)


def check_mask(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES) -> None:
    """Check the values of a mask, (y, x) of integers, against its kind.

    Raises
    ------
    InputError
        If the kind or the codes are unusable, if a three-class mask holds a value that is no code, or if a binary
        mask holds more than 0 and one other value.
    """
    check_settings(kind, codes)
    if kind == "three_class":
        codes = _complete(codes)
        unknown = np.setdiff1d(np.unique(mask), list(codes.values()))
        if len(unknown):
            expected = ", ".join(f"{name} {codes[name]}" for name in CLASSES)
            raise InputError(f"the three-class mask holds {_list(unknown)}; its codes are {expected}.")
    elif kind == "binary":
        values = np.unique(mask)
        if len(values[values != 0]) > 1:
            raise InputError(
                f"the binary mask holds {_list(values)}; expected 0 and one other value. "
                "For a number per nucleus the kind is instances."
            )


def to_binary(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background") -> np.ndarray:
    """Nucleus against background, bool (y, x). The border of a binary mask is unknown: all of it is nucleus."""
    _check_border_as(border_as)
    if kind == "binary":
        return mask != 0
    if kind == "instances" and border_as == "nucleus":
        return mask != 0
    classes = to_three_class(mask, kind, codes)
    return classes != BACKGROUND if border_as == "nucleus" else classes == NUCLEUS


def to_three_class(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES) -> np.ndarray:
    """The classes 0 background, 1 border, 2 nucleus, uint8 (y, x).

    The border of an instance is its pixels that have one of their eight neighbours outside it. Where two nuclei
    touch, both have a border; where the image ends, there is none, since nothing is known to lie behind it.

    Raises
    ------
    InputError
        If the kind is binary: it does not tell nuclei apart.
    """
    _check_kind(kind)
    if kind == "binary":
        raise InputError("three classes cannot be made from a binary mask: it does not tell touching nuclei apart.")
    classes = np.zeros(mask.shape, np.uint8)
    if kind == "three_class":
        codes = _complete(codes)
        classes[mask == codes["border"]] = BORDER
        classes[mask == codes["nucleus"]] = NUCLEUS
        return classes
    classes[mask != 0] = NUCLEUS
    classes[find_boundaries(mask, connectivity=2, mode="inner")] = BORDER
    return classes


def to_instances(
    mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background"
) -> np.ndarray:
    """Numbers 1, 2, ... of the nuclei, 0 elsewhere; uint16, or uint32 above 65535 nuclei; (y, x).

    - instances: the nuclei as they are, numbered without gaps; their border is taken off for border_as="background".
    - three_class: 4-connected components of the nucleus class. For border_as="nucleus" a border pixel goes to the
      nearest of them (Euclidean distance); border that is 4-connected to no nucleus pixel makes components of its own.
    - binary: 4-connected components.

    Exactly the pixels of `to_binary` are not 0.
    """
    _check_border_as(border_as)
    if kind == "instances":
        labels = np.where(to_binary(mask, kind, codes, border_as), mask, 0)
        labels = relabel_sequential(labels)[0]
    elif kind == "three_class" and border_as == "nucleus":
        labels = _grow_into_border(to_three_class(mask, kind, codes))
    else:
        labels = label(to_binary(mask, kind, codes, border_as), connectivity=1)
    return labels.astype(np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32)


def to_distance(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background") -> np.ndarray:
    """Distance of pixels to the border of their nucleus, uint8 (y, x): 0 is background, 255 a nucleus' farthest pixels.

    The nuclei are those of `to_instances`. A distance is that to the nearest pixel which is not of the same nucleus
    (Euclidean, exact), divided by the nucleus' largest one, in steps of 1/255 and at least 1. A nucleus that touches
    has its border there, too; where the image ends there is none, since nothing is known to lie behind it.

    It depends neither on the numbers of the nuclei nor on orientation: a border pixel of a three-class mask that is as
    near to one nucleus as to another is part of neither, and gets 1.

    Raises
    ------
    InputError
        If the kind is binary: it does not tell nuclei apart.
    """
    if kind == "binary":
        raise InputError("distances cannot be made from a binary mask: it does not tell touching nuclei apart.")
    labels = to_instances(mask, kind, codes, border_as).astype(np.int64)
    distance = np.zeros(labels.shape, np.uint8)
    distance[labels > 0] = 1
    if kind == "three_class" and border_as == "nucleus":
        labels[_undecided(to_three_class(mask, kind, codes), labels)] = 0
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        # A pixel beyond the nucleus on every side, but for those where the image ends: no nearer one is farther away.
        box = (slice(max(rows.start - 1, 0), rows.stop + 1), slice(max(columns.start - 1, 0), columns.stop + 1))
        inside = labels[box] == number
        if inside.all():
            distance[box] = 255  # the nucleus is all of the image
            continue
        of_nucleus = ndimage.distance_transform_edt(inside)
        steps = np.rint(255 * of_nucleus / of_nucleus.max())
        distance[box][inside] = np.maximum(steps, 1)[inside]
    return distance


def _undecided(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Border pixels as near to one nucleus as to another, bool (y, x): which one they go to depends on orientation.

    labels : of `_grow_into_border`
    """
    nuclei = np.where(classes == NUCLEUS, labels, 0)
    grown = [g.inverse(expand_labels(g(nuclei), distance=np.inf)) for g in Group.P4M.elements]
    # Border without a nucleus, whose numbers come last, goes to none.
    return (labels <= nuclei.max()) & np.any([other != grown[0] for other in grown[1:]], axis=0)


def _grow_into_border(classes: np.ndarray) -> np.ndarray:
    nucleus = classes == NUCLEUS
    labels = label(nucleus, connectivity=1)
    regions, count = label(classes != BACKGROUND, connectivity=1, return_num=True)
    has_nucleus = np.zeros(count + 1, bool)
    has_nucleus[regions[nucleus]] = True
    with_nucleus = has_nucleus[regions]
    alone = (regions > 0) & ~with_nucleus
    grown = np.where(with_nucleus, expand_labels(labels, distance=np.inf), 0) if nucleus.any() else labels
    numbers = np.cumsum(~has_nucleus[1:])
    grown[alone] = labels.max() + numbers[regions[alone] - 1]
    return grown


def _complete(codes: Codes) -> dict[str, int]:
    unknown = [name for name in codes if name not in CLASSES]
    complete = {**DEFAULT_CODES, **codes}
    if unknown or len(set(complete.values())) < len(CLASSES):
        raise InputError(f"codes {dict(codes)}: give three different numbers to {', '.join(CLASSES)}.")
    return complete


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"mask kind {kind!r} is not one of {', '.join(KINDS)}.")


def _check_border_as(border_as: str) -> None:
    if border_as not in ("background", "nucleus"):
        raise InputError(f"border_as {border_as!r} is not one of background, nucleus.")


def _list(values: np.ndarray, shown: int = 5) -> str:
    more = f" and {len(values) - shown} more" if len(values) > shown else ""
    return f"the value{'s' if len(values) > 1 else ''} {', '.join(map(str, values[:shown]))}{more}"
