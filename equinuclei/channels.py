"""Choosing a channel of a plate by its name or its emission wavelength."""

import math
from collections.abc import Iterable, Mapping

from equinuclei.errors import InputError, check_known

# The centre of a filter and the emission peak of its dye differ by some 10 nm, two neighbouring dyes by 40 nm or more.
WAVELENGTH_TOLERANCE = 25.0  # nm


def find_channel(plate: str, wavelengths: Mapping[str, float], wanted: str | float) -> str:
    """Name of the channel that `wanted` refers to.

    Parameters
    ----------
    plate
        How error messages refer to the plate.
    wavelengths
        Emission wavelengths in nm by channel name; NaN where unknown.
    wanted
        A name (case-insensitive), or an emission wavelength in nm, as a number or text: it stands for the channel with
        the nearest wavelength within `WAVELENGTH_TOLERANCE`.

    Raises
    ------
    InputError
        If there is no such channel, or two channels are equally near.
    """
    names = list(wavelengths)
    if isinstance(wanted, str) and wanted in names:
        return wanted
    if (number := _finite_number(wanted)) is not None:
        return _nearest(plate, wavelengths, number)
    text = str(wanted)
    same = [name for name in names if name.casefold() == text.strip().casefold()]
    if len(same) != 1:
        check_known(f"channel of {plate}:", text, names)
    return same[0]


def _finite_number(wanted: str | float) -> float | None:
    try:
        number = float(wanted)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _nearest(plate: str, wavelengths: Mapping[str, float], wanted: float) -> str:
    distances = sorted((abs(value - wanted), name) for name, value in wavelengths.items() if not math.isnan(value))
    if not distances or distances[0][0] > WAVELENGTH_TOLERANCE:
        emission = ", ".join(f"{name!r} {value:g} nm" for name, value in wavelengths.items() if not math.isnan(value))
        raise InputError(
            f"{plate} has no channel that emits at {wanted:g} nm (within {WAVELENGTH_TOLERANCE:g} nm): "
            f"{emission or 'none known'}. Its channels are {listed(wavelengths)}."
        )
    if len(distances) > 1 and distances[0][0] == distances[1][0]:
        raise InputError(
            f"{plate}: channels {distances[0][1]!r} and {distances[1][1]!r} are equally near to {wanted:g} nm: "
            "choose one by name."
        )
    return distances[0][1]


def listed(names: Iterable[str]) -> str:
    """Names in quotes, separated by commas."""
    return ", ".join(map(repr, names))
