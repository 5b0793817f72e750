"""What a file claims to hold against what it can hold: a claim is refused before anything is decoded.

A header of some bytes can claim terabytes, and a small chunk can expand to gigabytes. Micrographs shrink to a half or a
tenth, masks and empty images to a hundredth or a thousandth.
"""

import os
from pathlib import Path

from equinuclei.errors import InputError, UnavailableError

HARMLESS = 64 * 2**20
"""Bytes that any file may claim."""

LARGEST_RATIO = 10_000
"""Bytes that a compressed byte may stand for. Deflate reaches 1032; better ones reach more on empty images alone."""


def check_claim(what: str | Path, claimed: int, held: int, ratio: int = LARGEST_RATIO) -> None:
    """Check what a file claims to hold, uncompressed, against the bytes of it that are there.

    Parameters
    ----------
    what
        What messages begin with: the file, or a part of it.
    claimed, held
        Bytes.
    ratio
        Bytes that one of the file may stand for; 1 where nothing is compressed.

    Raises
    ------
    InputError
        If the claim is not plausible: the file is damaged, or made to exhaust the memory.
    UnavailableError
        If it is, and exceeds the memory of this machine.
    """
    if claimed > max(HARMLESS if ratio > 1 else 0, ratio * held):
        raise InputError(
            f"{what}: claims {size_in_words(claimed)} of pixels, and holds {size_in_words(held)}: it is damaged, or "
            "was not copied whole"
        )
    if claimed > HARMLESS and claimed > (memory := _memory()):
        raise UnavailableError(
            f"{what}: its {size_in_words(claimed)} of pixels are more than the memory of this machine, "
            f"{size_in_words(memory)}: use a larger one, or cut the image into parts"
        )


def size_in_words(count: int) -> str:
    """A number of bytes in a unit that suits it."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1e6 else f"{value:.1e} {units[0]}"


def _memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
