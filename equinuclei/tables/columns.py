"""The data dictionary: type, unit and meaning of every column of every table that the workflow writes.

`table_columns.tsv` has a row per column that means the same in several tables, with the columns tables (names as
`<where>/<file>`, with spaces between them), column, type, unit and meaning. `<where>` is study, plates, or images
(`equinuclei segment`). A part of a column's name in angle brackets stands for any text: `mean_<channel>`. A type is one
of `TYPES`.

Imports nothing beyond the standard library: the workflow is parsed with it, where pandas may not be installed.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COLUMNS_FILE = Path(__file__).parent / "table_columns.tsv"

TEXT, INTEGER, NUMBER, BOOLEAN = TYPES = ("text", "integer", "number", "boolean")
"""Types of columns; `equinuclei.tables.files.read_table` says what each becomes in memory."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its name or the pattern of it, type, unit (empty where it has none) and meaning."""

    name: str
    type: str
    unit: str
    meaning: str

    def fits(self, name: str) -> bool:
        """Whether this column, or the pattern that it is, has that name."""
        pattern = "".join(".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<\w+>)", self.name))
        return re.fullmatch(pattern, name) is not None


@cache
def tables() -> dict[str, list[Column]]:
    """The columns of every table, by its name."""
    found: dict[str, list[Column]] = {}
    with COLUMNS_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            for table in row["tables"].split():
                found.setdefault(table, []).append(Column(row["column"], row["type"], row["unit"], row["meaning"]))
    return found


def column_of(table: str, name: str) -> Column | None:
    """The entry of a column; None where the dictionary has none. A column's own name goes before a pattern."""
    fitting = [column for column in tables().get(table, []) if column.fits(name)]
    return min(fitting, key=lambda column: "<" in column.name, default=None)
