"""Correction of uneven illumination by the profiles that an instrument's software has fitted."""

from collections.abc import Mapping

import numpy as np

from equinuclei.errors import InputError

# A profile is 1 on average and falls to about 0.3 in the corners. Lower values are not those of an illumination, and
# dividing by them would amplify noise.
_DARKEST = 0.05


def illumination(profile: Mapping, height: int, width: int) -> np.ndarray:
    """Relative illumination of a field, float32 (y, x), about 1 on average.

    Harmony writes it as a polynomial of the pixel's position, `sum over d, j of c[d][j] x^(d - j) y^j`, where x and y
    are counted from `origin` and multiplied by `scale`. The foreground's profile, which was measured on cells, is
    preferred to the background's.

    Parameters
    ----------
    profile
        As `equinuclei.sources.plates.evaluation_index.flat_field` returns it, with `foreground`, `background` or both.
    height, width
        Size of the field in pixels, which may differ from the profile's `dims` by binning.

    Raises
    ------
    InputError
        If the profile is not a polynomial, or is almost 0 somewhere.
    """
    which = profile.get("foreground") or profile["background"]
    if which["type"] != "Polynomial":
        raise InputError(f"flat-field profile of type {which['type']!r}: only 'Polynomial' is supported")
    (full_width, full_height), origin, scale = which["dims"], which["origin"], which["scale"]
    x = ((np.arange(width) + 0.5) * full_width / width - 0.5 - origin[0]) * scale[0]
    y = ((np.arange(height) + 0.5) * full_height / height - 0.5 - origin[1]) * scale[1]
    total = np.zeros((height, width))
    for degree, coefficients in enumerate(which["coefficients"]):
        for power, coefficient in enumerate(coefficients):
            total += coefficient * y[:, None] ** power * x[None, :] ** (degree - power)
    if total.min() < _DARKEST:
        raise InputError(f"flat-field profile: falls to {total.min():.3g} of its mean, too low for an illumination")
    return total.astype(np.float32)


def flatten(pixels: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Pixels (y, x) divided by `illumination`, in their own dtype: integers are rounded and clipped to its range."""
    flat = pixels / relative
    if pixels.dtype.kind in "iu":
        limits = np.iinfo(pixels.dtype)
        flat = np.clip(np.rint(flat), limits.min, limits.max)
    return flat.astype(pixels.dtype)
