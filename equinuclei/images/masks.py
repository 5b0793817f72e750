"""Masks of nuclei: three classes, instances, or binary, and how to treat the border of nuclei.

A *three-class* mask holds codes for background, border and nucleus. An *instances* mask holds one number per nucleus,
and 0 elsewhere. A *binary* mask holds 0 and at most one other value. All masks are (y, x).

`border_as` says what the one-pixel border of a nucleus counts as: "background" (which separates touching nuclei) or
"nucleus". The border in an instance mask is derived: the outermost pixels inside every nucleus.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import expand_labels, find_boundaries, relabel_sequential

from equinuclei.errors import InputError, check_known
from equinuclei.symmetry import Group

KINDS = ("three_class", "instances", "binary")
CLASSES = ("background", "border", "nucleus")
BORDER_SETTINGS = ("background", "nucleus")
BACKGROUND, BORDER, NUCLEUS = 0, 1, 2

Codes = Mapping[str, int]
"""Pixel values of the classes background, border and nucleus in a three-class mask."""

DEFAULT_CODES: Codes = {"background": BACKGROUND, "border": BORDER, "nucleus": NUCLEUS}


def check_settings(kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background") -> None:
    """Check the settings on masks in a configuration.

    Raises
    ------
    InputError
        If the kind or `border_as` is unknown, or the codes are not three different numbers.
    """
    check_known("mask kind", kind, KINDS)
    check_known("border_as", border_as, BORDER_SETTINGS)
    _complete(codes)


def check_mask(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES) -> None:
    """Check the values of a mask, (y, x) of integers, against its kind.

    Raises
    ------
    InputError
        If the kind or the codes are invalid, if a three-class mask holds a value that is not a code, or if a binary
        mask holds more than one value other than 0.
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
                "If it holds a number per nucleus, its kind is instances."
            )


def to_binary(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background") -> np.ndarray:
    """Whether a pixel is nucleus, bool (y, x). A binary mask does not show borders: all its foreground is nucleus."""
    check_known("border_as", border_as, BORDER_SETTINGS)
    if kind == "binary":
        return mask != 0
    if kind == "instances" and border_as == "nucleus":
        return mask != 0
    classes = to_three_class(mask, kind, codes)
    return classes != BACKGROUND if border_as == "nucleus" else classes == NUCLEUS


def to_three_class(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES) -> np.ndarray:
    """The classes 0 background, 1 border, 2 nucleus, uint8 (y, x).

    The border of an instance consists of the pixels with at least one of their eight neighbours outside it. Where two
    nuclei touch, both have a border. At the edge of the image there is none, since what lies beyond is unknown.

    Raises
    ------
    InputError
        If the kind is binary, which does not distinguish touching nuclei.
    """
    check_known("mask kind", kind, KINDS)
    if kind == "binary":
        raise InputError("three classes cannot be made from a binary mask: it does not distinguish touching nuclei.")
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
    """Numbers 1, 2, ... of the nuclei and 0 elsewhere, (y, x): uint16, or uint32 for more than 65535 nuclei.

    - instances: the nuclei as they are, renumbered without gaps; without their border for border_as="background".
    - three_class: 4-connected components of the nucleus class. For border_as="nucleus", border pixels are assigned to
      the nearest component (Euclidean distance); border that is not 4-connected to any nucleus pixel forms components
      of its own.
    - binary: 4-connected components.

    The pixels that are not 0 are exactly those of `to_binary`.
    """
    check_known("border_as", border_as, BORDER_SETTINGS)
    if kind == "instances":
        labels = np.where(to_binary(mask, kind, codes, border_as), mask, 0)
        labels = relabel_sequential(labels)[0]
    elif kind == "three_class" and border_as == "nucleus":
        labels = _grow_into_border(to_three_class(mask, kind, codes))
    else:
        labels = label(to_binary(mask, kind, codes, border_as), connectivity=1)
    return labels.astype(np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32)


def to_distance(mask: np.ndarray, kind: str, codes: Codes = DEFAULT_CODES, border_as: str = "background") -> np.ndarray:
    """Distance of pixels to the border of their nucleus, uint8 (y, x): 0 in the background, 255 at a nucleus' maximum.

    The nuclei are those of `to_instances`. The distance is to the nearest pixel outside the same nucleus (Euclidean,
    exact), divided by the nucleus' maximum, in steps of 1/255 and at least 1. Touching nuclei have a border between
    them. At the edge of the image there is none, since what lies beyond is unknown.

    The result depends neither on the numbers of the nuclei nor on orientation: a border pixel of a three-class mask
    that is equally near to two nuclei belongs to neither, and gets 1.

    Raises
    ------
    InputError
        If the kind is binary, which does not distinguish touching nuclei.
    """
    if kind == "binary":
        raise InputError("distances cannot be made from a binary mask: it does not distinguish touching nuclei.")
    labels = to_instances(mask, kind, codes, border_as).astype(np.int64)
    distance = np.zeros(labels.shape, np.uint8)
    distance[labels > 0] = 1
    if kind == "three_class" and border_as == "nucleus":
        labels[_undecided(to_three_class(mask, kind, codes), labels)] = 0
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        # One pixel beyond the nucleus on every side, but within the image: it contains the nearest pixels outside.
        box = (slice(max(rows.start - 1, 0), rows.stop + 1), slice(max(columns.start - 1, 0), columns.stop + 1))
        inside = labels[box] == number
        if inside.all():
            distance[box] = 255  # the nucleus fills the image
            continue
        of_nucleus = ndimage.distance_transform_edt(inside)
        steps = np.rint(255 * of_nucleus / of_nucleus.max())
        distance[box][inside] = np.maximum(steps, 1)[inside]
    return distance


def _undecided(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Border pixels that are equally near to two nuclei, bool (y, x): their label depends on orientation.

    labels : of `_grow_into_border`.
    """
    nuclei = np.where(classes == NUCLEUS, labels, 0)
    grown = [g.inverse(expand_labels(g(nuclei), distance=np.inf)) for g in Group.P4M.elements]
    # Border without a nucleus has the last numbers, and is assigned to no nucleus.
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
    """The codes of all three classes. Raises InputError if they are not three different numbers."""
    unknown = [name for name in codes if name not in CLASSES]
    complete = {**DEFAULT_CODES, **codes}
    if unknown or len(set(complete.values())) < len(CLASSES):
        raise InputError(f"codes {dict(codes)}: give three different numbers to {', '.join(CLASSES)}.")
    return complete


def _list(values: np.ndarray, shown: int = 5) -> str:
    more = f" and {len(values) - shown} more" if len(values) > shown else ""
    return f"the value{'s' if len(values) > 1 else ''} {', '.join(map(str, values[:shown]))}{more}"
