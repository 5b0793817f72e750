"""What the columns of all tables mean: `table_columns.tsv`, a row per column that means the same in several tables.

Its columns are tables (names as `<where>/<file>`, with spaces between them), column, unit and meaning. `<where>` is
study, plates, or images (`scripts/segment_images.py`). A part of a column's name in angle brackets stands for any text:
`mean_<channel>`. Imports nothing beyond the standard library: the workflow is parsed with it.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COLUMNS_FILE = Path(__file__).parent / "table_columns.tsv"


@dataclass(frozen=True)
class Column:
    """A column of a table: its name or the pattern of it, unit (empty where it has none) and meaning."""

    name: str
    unit: str
    meaning: str

    def fits(self, name: str) -> bool:
        """Whether a column of this name is meant."""
        pattern = "".join(".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<\w+>)", self.name))
        return re.fullmatch(pattern, name) is not None


@cache
def tables() -> dict[str, list[Column]]:
    """The columns of every table, by its name."""
    found: dict[str, list[Column]] = {}
    with COLUMNS_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            for table in row["tables"].split():
                found.setdefault(table, []).append(Column(row["column"], row["unit"], row["meaning"]))
    return found


def column_of(table: str, name: str) -> Column | None:
    """What a column means; None where the dictionary does not say. A column's own name goes before a pattern."""
    fitting = [column for column in tables().get(table, []) if column.fits(name)]
    return min(fitting, key=lambda column: "<" in column.name, default=None)
