"""Choosing a channel of a plate: by its name, its emission wavelength, or what it shows."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from equinuclei.errors import InputError, check_known

# The centre of a filter and the emission peak of its dye differ by some 10 nm, two neighbouring dyes by 40 nm or more.
WAVELENGTH_TOLERANCE = 25.0  # nm

ChannelChoice = str | float | Sequence[str | float]
"""A name, an emission wavelength in nm, one of `KINDS`, or a list of them that are tried in order."""

NUCLEAR, BRIGHTFIELD = "nuclear", "brightfield"
KINDS = {
    NUCLEAR: (
        ("DAPI", "Hoechst", "NucBlue"),
        ("nuclei", "nucleus", "nuclear", "DNA", "H2B", "DRAQ5", "NucSpot", "NucRed", "NucGreen"),
        # These are often stains of dead cells beside one of those above.
        ("SYTOX", "Propidium", "PI", "7-AAD", "DRAQ7", "TO-PRO", "YO-PRO", "TOTO", "acridine"),
    ),
    BRIGHTFIELD: (("brightfield", "bright field", "BF", "transmission", "transmitted", "TL", "phase", "DIC"),),
}
"""Names of the channels that show something, by its keyword: steps that are tried in order."""

# DAPI and Hoechst are imaged at 445 to 461 nm, cyan fluorescent proteins from 470 nm on.
NUCLEAR_EMISSION, NUCLEAR_TOLERANCE = 455.0, 12.0  # nm


def find_channel(plate: str, wavelengths: Mapping[str, float], wanted: ChannelChoice | None) -> str:
    """Name of the channel that `wanted` refers to.

    Parameters
    ----------
    plate
        How error messages refer to the plate.
    wavelengths
        Emission wavelengths in nm by channel name; NaN where unknown.
    wanted
        A name. It stands for the channel of this name; else for the one that differs in case alone; else for the one
        whose name holds its words: "Hoechst" for "HOECHST 33342", "DAPI" for "cycle0 DAPI" and "DAPI - DAPI".
        Or an emission wavelength in nm, as a number or text: it stands for the channel with the nearest wavelength
        within `WAVELENGTH_TOLERANCE`.
        Or a keyword of `KINDS`, unless a channel has this name: its steps are tried in order. "nuclear" then stands for
        a channel that emits where DAPI does, and at last for the only channel of a plate, unless that is a brightfield
        image.
        Or a list of these: the first that stands for a channel.
        None: the only channel.

    Raises
    ------
    InputError
        If there is no such channel, or several fit equally well.
    """
    if wanted is None:
        if len(wavelengths) == 1:
            return next(iter(wavelengths))
        raise InputError(
            f"{plate} has the channels {described(wavelengths)}: set `plates: {{channel: ...}}` to one of them"
        )
    choices = list(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    for choice in choices:
        found = _fitting(plate, wavelengths, choice)
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{plate}: {choice!r} fits the channels {listed(found)}: choose one by its whole name.")
    meant = [choice if isinstance(choice, str) else f"{choice:g} nm" for choice in choices]
    if len(choices) == 1 and (number := _finite_number(choices[0])) is not None:
        meant = [f"that emits at {number:g} nm (within {WAVELENGTH_TOLERANCE:g} nm)"]
    elif len(choices) == 1 and meant[0].casefold() in KINDS:
        meant = [f"whose name or emission says {meant[0].casefold()}"]
    elif len(choices) == 1:
        check_known(f"channel of {plate}:", meant[0], wavelengths)
    raise InputError(f"{plate} has no channel {', '.join(meant)}; it has {described(wavelengths)}.")


def described(wavelengths: Mapping[str, float]) -> str:
    """Channels by name, with their emission where it is known."""
    return ", ".join(
        repr(name) if math.isnan(value) else f"{name!r} ({value:g} nm)" for name, value in wavelengths.items()
    )


def is_brightfield(channel: str) -> bool:
    """Whether the name of a channel says that it is an image in transmitted light."""
    return any(_holds(channel, name) for step in KINDS[BRIGHTFIELD] for name in step)


def listed(names: Iterable[str]) -> str:
    """Names in quotes, separated by commas."""
    return ", ".join(map(repr, names))


def _fitting(plate: str, wavelengths: Mapping[str, float], wanted: str | float) -> list[str]:
    """The channels that one name, wavelength or keyword may stand for."""
    if isinstance(wanted, str) and wanted in wavelengths:
        return [wanted]
    if (number := _finite_number(wanted)) is not None:
        return _nearest(plate, wavelengths, number, WAVELENGTH_TOLERANCE)
    text = str(wanted).strip()
    if same := [name for name in wavelengths if name.strip().casefold() == text.casefold()]:
        return same
    steps = KINDS.get(text.casefold(), ((text,),))
    for step in steps:
        if found := [name for name in wavelengths if any(_holds(name, one) for one in step)]:
            return found
    if text.casefold() != NUCLEAR:
        return []
    if near := _nearest(plate, wavelengths, NUCLEAR_EMISSION, NUCLEAR_TOLERANCE):
        return near
    return [name for name in wavelengths if len(wavelengths) == 1 and not is_brightfield(name)]


def _holds(name: str, text: str) -> bool:
    """Whether the words and numbers of a text stand in a name, one after the other: "Hoechst" in "HOECHST33342"."""
    words, wanted = _words(name), _words(text)
    return bool(wanted) and any(words[start : start + len(wanted)] == wanted for start in range(len(words)))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", text.casefold())


def _finite_number(wanted: str | float) -> float | None:
    try:
        number = float(wanted)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _nearest(plate: str, wavelengths: Mapping[str, float], wanted: float, tolerance: float) -> list[str]:
    """The channel that emits nearest to a wavelength, within the tolerance; InputError if two are equally near."""
    distances = sorted((abs(value - wanted), name) for name, value in wavelengths.items() if not math.isnan(value))
    near = [(distance, name) for distance, name in distances if distance <= tolerance]
    if len(near) > 1 and near[0][0] == near[1][0]:
        raise InputError(
            f"{plate}: channels {near[0][1]!r} and {near[1][1]!r} are equally near to {wanted:g} nm: "
            "choose one by name."
        )
    return [name for _, name in near[:1]]
