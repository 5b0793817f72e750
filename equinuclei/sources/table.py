"""Layout "table": a TSV or CSV file with one row per image."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError, raise_problems
from equinuclei.sources.checks import COLUMNS, missing_path, nearest

_DELIMITERS = {".tsv": "\t", ".tab": "\t", ".txt": "\t", ".csv": ","}


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    """Read columns of a TSV or CSV file with a header line, all values as strings.

    Values are not interpreted: NA is a text and 007 is not 7. Other columns are dropped. Optional columns are returned
    if they are present.

    Raises
    ------
    InputError
        If the file is missing, is neither TSV nor CSV, is not UTF-8, lacks a required column, has a column with a name
        similar to that of a missing one (a misspelt `group` must not divide groups unnoticed), or has a row with too
        few or too many values.
    """
    if not path.is_file():
        raise InputError(missing_path(path, "table"))
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise InputError(f"{path}: not a table: the name must end in .tsv, .txt or .csv")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num, values) for values in reader if any(values)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 table: {error}") from error
    if not lines:
        raise InputError(f"{path}: the table is empty: its first line must name the columns")
    header, rows = lines[0][1], lines[1:]
    problems = [f"column {name!r} occurs twice" for name in dict.fromkeys(header) if header.count(name) > 1]
    unknown = [name for name in header if name not in (*required, *optional)]
    for name in (*required, *optional):
        guess = nearest(name, unknown) if name not in header else None
        if guess is not None:
            problems.append(f"column {name!r} is missing; rename column {guess!r} if it is the one")
        elif name not in header and name in required:
            problems.append(f"column {name!r} is missing; the columns are {', '.join(map(repr, header))}")
    problems += [
        f"line {number} has {len(values)} values, the header has {len(header)}"
        for number, values in rows
        if len(values) != len(header)
    ]
    raise_problems(str(path), problems)
    table = pd.DataFrame([values for _, values in rows], columns=header, dtype=str)
    return table[[name for name in (*required, *optional) if name in header]]


def read_table(source: Mapping) -> pd.DataFrame:
    """Read a source of layout "table" (see `equinuclei.sources.read_source`)."""
    path = Path(source["path"]).absolute()
    table = read_rows(
        path, required=["image_id", "modality", "image", "mask"], optional=["cell_line", "group", "split"]
    )
    problems = [
        f"image_id {image_id!r}: column {column!r} is empty"
        for column in ("image", "mask")
        for image_id in table.loc[table[column] == "", "image_id"]
    ]
    raise_problems(str(path), problems)
    for column in ("image", "mask"):
        table[column] = [str(path.parent / name) for name in table[column]]
    return table.reindex(columns=COLUMNS, fill_value="")
