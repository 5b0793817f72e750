"""The workflow's own text tables, written and read back the same way everywhere.

The data dictionary gives every column its type, so that no name is ever taken for a missing value or a number: a cell
line called "NA", "None", "1e5" or "007" stays what it is.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError
from equinuclei.runtime.files import replacing
from equinuclei.tables.columns import BOOLEAN, INTEGER, NUMBER, TEXT, column_of
from equinuclei.tables.formulas import guarded, unguarded

MISSING = "NaN"
"""What stands for a missing number in the tables of a study."""

_DTYPES = {TEXT: "str", INTEGER: "float64", NUMBER: "float64", BOOLEAN: "boolean"}


def read_table(path: str | Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table that the workflow has written; tab-separated, or comma-separated where the file ends in .csv.

    Parameters
    ----------
    path
        The file, UTF-8 with a header.
    name
        Which table it is in the data dictionary, such as "study/f1.tsv".
    columns
        Those wanted, in that order; by default all of the file, each of which the dictionary has to know.

    Returns
    -------
    pandas.DataFrame
        By type of the column: text is str, and "" where nothing stands; an integer is int64, or float64 with NaN in a
        column where one is missing; a number is float64 with NaN; a boolean is pandas' "boolean" with NA. A number is
        missing where nothing or "NaN" stands.

    Raises
    ------
    InputError
        If the file is missing or broken, lacks a wanted column, or holds a value that is not of its column's type.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    form = {"sep": "," if path.suffix == ".csv" else "\t", "encoding": "utf-8", "keep_default_na": False}
    try:
        present = list(pd.read_csv(path, nrows=0, dtype=str, **form).columns)
        wanted = present if columns is None else list(columns)
        types = _types(path, name, wanted, present)
        table = pd.read_csv(
            path,
            dtype={column: _DTYPES[kind] for column, kind in types.items()},
            na_values={column: ["", MISSING] for column, kind in types.items() if kind != TEXT},
            **form,
        )[wanted]
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        raise InputError(
            f"{path}: not a table as the workflow writes it ({error}); delete it and run again."
        ) from error
    for column in (column for column, kind in types.items() if kind == TEXT):
        table[column] = table[column].map(unguarded)
    for column in (column for column, kind in types.items() if kind == INTEGER):
        values = table[column].dropna()
        if (values % 1 != 0).any():
            raise InputError(f"{path}: column {column!r} does not hold integers alone; delete the file and run again.")
        if len(values) == len(table):
            table[column] = table[column].astype("int64")
    return table


def write_table(table: pd.DataFrame, path: str | Path, *, missing: str = MISSING) -> None:
    """Write a table as tab-separated text, atomically: floats with 6 significant digits, 0 as 0.

    Texts that a spreadsheet would take for formulas are guarded (`equinuclei.tables.formulas`); `read_table` undoes it.

    missing : what to write for a missing value; `read_table` knows `MISSING` and the empty text.
    """
    with replacing(path) as temporary:
        without_formulas(_without_negative_zero(table)).to_csv(
            temporary, sep="\t", index=False, float_format="%.6g", na_rep=missing, lineterminator="\n"
        )


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with all texts, and names of columns, `guarded`."""
    texts = table.select_dtypes(exclude=["number", "bool", "datetime"]).columns
    safe = table.assign(**{column: table[column].map(_guarded) for column in texts})
    return safe.rename(columns=guarded)


def _guarded(value: object) -> object:
    return guarded(value) if isinstance(value, str) else value


def _types(path: Path, name: str, wanted: Sequence[str], present: Sequence[str]) -> dict[str, str]:
    """Types of the wanted columns by the data dictionary."""
    absent = [column for column in wanted if column not in present]
    if absent:
        raise InputError(f"{path}: column {', '.join(map(repr, absent))} is missing.")
    types = {}
    for column in wanted:
        entry = column_of(name, column)
        if entry is None:
            raise InputError(f"{path}: {column!r} is no column of the table {name}.")
        types[column] = entry.type
    return types


def _without_negative_zero(table: pd.DataFrame) -> pd.DataFrame:
    floats = table.select_dtypes("float").columns
    return table.assign(**{column: table[column] + 0.0 for column in floats})
