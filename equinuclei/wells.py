"""Names of wells, such as B02."""

import re
import string
from collections.abc import Sequence

STANDARD_SHAPES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
"""Rows and columns of plates of 6, 12, 24, 48, 96, 384 and 1536 wells."""

_WELL = re.compile(r"\s*([A-Za-z]{1,2})\s*0*([1-9]\d?)\s*")


def parse_well(text: str) -> tuple[int, int]:
    """Row and column, counted from 1, of a well such as "B2", "b02" or "AF48".

    Raises
    ------
    ValueError
        If `text` does not name a well.
    """
    found = _WELL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not the name of a well, such as B02")
    letters, column = found[1].upper(), int(found[2])
    row = 0
    for letter in letters:
        row = row * 26 + string.ascii_uppercase.index(letter) + 1
    try:
        well_name(row, column)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a well: {error}") from None
    return row, column


def well_name(row: int, column: int) -> str:
    """Name of a well, such as "B02", from its row and column, counted from 1.

    Raises
    ------
    ValueError
        If the well lies outside the largest plate (32 rows, 48 columns).
    """
    if not 1 <= column <= 48:
        raise ValueError(f"column {column} is outside 1 to 48")
    return f"{row_letters(row)}{column:02d}"


def row_letters(row: int) -> str:
    """Letters of a plate row counted from 1: A, ..., Z, AA, ..., AF.

    Raises
    ------
    ValueError
        If the row is outside 1 to 32.
    """
    if not 1 <= row <= 32:
        raise ValueError(f"row {row} is outside 1 to 32")
    return string.ascii_uppercase[row - 1] if row <= 26 else "A" + string.ascii_uppercase[row - 27]


def few(wells: Sequence[str], shown: int = 5) -> str:
    """The first of some wells, as text: "A01, A02 and 3 more"."""
    return ", ".join(wells[:shown]) + (f" and {len(wells) - shown} more" if len(wells) > shown else "")
