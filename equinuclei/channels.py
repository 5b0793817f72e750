"""A channel of a plate, chosen by its name or its emission wavelength."""

import math
from collections.abc import Iterable, Mapping

from equinuclei.errors import InputError, check_known

# A filter's centre and a dye's emission peak differ by some 10 nm; neighbouring dyes by 40 or more.
WAVELENGTH_TOLERANCE = 25.0  # nm


def find_channel(plate: str, wavelengths: Mapping[str, float], wanted: str | float) -> str:
    """Name of the channel that is meant.

    Parameters
    ----------
    plate
        What messages call the plate.
    wavelengths
        Emission wavelengths in nm by channel name; NaN where unknown.
    wanted
        A name (letter case does not matter), or an emission wavelength in nm, a number or its text: the nearest one
        within `WAVELENGTH_TOLERANCE`.

    Raises
    ------
    InputError
        If there is no such channel, or two are equally near.
    """
    names = list(wavelengths)
    if wanted in names:
        return wanted
    if (number := _number(wanted)) is not None:
        return _nearest(plate, wavelengths, number)
    same = [name for name in names if name.casefold() == wanted.strip().casefold()]
    if len(same) != 1:
        check_known(f"channel of {plate}:", wanted, names)
    return same[0]


def _number(wanted: str | float) -> float | None:
    try:
        number = float(wanted)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _nearest(plate: str, wavelengths: Mapping[str, float], wanted: float) -> str:
    away = sorted((abs(value - wanted), name) for name, value in wavelengths.items() if not math.isnan(value))
    if not away or away[0][0] > WAVELENGTH_TOLERANCE:
        emission = ", ".join(f"{name!r} {value:g} nm" for name, value in wavelengths.items() if not math.isnan(value))
        raise InputError(
            f"{plate} has no channel that emits at {wanted:g} nm (within {WAVELENGTH_TOLERANCE:g} nm): "
            f"{emission or 'none known'}. Its channels are {listed(wavelengths)}."
        )
    if len(away) > 1 and away[0][0] == away[1][0]:
        raise InputError(
            f"{plate}: channels {away[0][1]!r} and {away[1][1]!r} are equally near to {wanted:g} nm: choose by name."
        )
    return away[0][1]


def listed(names: Iterable[str]) -> str:
    """Names in quotes, with commas."""
    return ", ".join(map(repr, names))
