"""The digest of the code behind every rule, where a refactoring that changed no byte keeps the digest of before.

`workflow/equivalent_code.tsv` tells which digests mean the same. `scripts/acknowledge_refactoring.py` adds a row when a
study made by both codes holds the same bytes.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.runtime.codehash import code_digest
from equinuclei.specs import ARCHITECTURES

TABLE = Path("workflow", "equivalent_code.tsv")
COLUMNS = ("rule", "architecture", "digest", "same_as", "evidence")

Equivalents = Mapping[tuple[str, str], str]


class RuleCode:
    """The code behind the rules of a project: their scripts, and what these reach in its library.

    root : the folder of the project. Raises InputError if its table of equivalent code cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._equivalents = read_equivalents(self.root / TABLE)

    def script(self, rule: str) -> Path:
        """Path of a rule's script."""
        return self.root / "workflow" / "scripts" / f"{rule}.py"

    def digest(self, rule: str, architecture: str = "") -> str:
        """Digest of the code behind a rule as it stands; of one that runs networks, with one architecture.

        Raises InputError as `equinuclei.runtime.codehash.code_digest`.
        """
        extra = []
        if architecture:
            module, name, *_ = ARCHITECTURES[architecture]
            extra.append(f"equinuclei.networks.{module}:{name}")
        return code_digest(self.script(rule), self.root, extra)

    def of(self, rule: str, architecture: str = "") -> str:
        """As `digest`, but of the first code that made the same bytes: what results are recorded with."""
        return self.first(rule, self.digest(rule, architecture))

    def first(self, rule: str, digest: str) -> str:
        """The digest of the first code that is known to make the same bytes; the digest itself if none is."""
        return first_equivalent(rule, digest, self._equivalents)


def read_equivalents(path: Path) -> dict[tuple[str, str], str]:
    """The table of equivalent code: (rule, digest) -> the digest that means the same; empty if there is no table.

    Raises InputError if it has other columns, tells two things of one digest, or leads in a circle.
    """
    if not path.exists():
        return {}
    found: dict[tuple[str, str], str] = {}
    for row in read_rows(path):
        key = row["rule"], row["digest"]
        if found.setdefault(key, row["same_as"]) != row["same_as"]:
            raise InputError(f"{path}: {' '.join(key)} stands twice, with different `same_as`; remove the wrong row")
    for rule, digest in found:
        try:
            first_equivalent(rule, digest, found)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return found


def first_equivalent(rule: str, digest: str, equivalents: Equivalents) -> str:
    """The end of the chain that begins at a digest. Raises InputError if it leads in a circle."""
    seen = {digest}
    while (rule, digest) in equivalents:
        digest = equivalents[rule, digest]
        if digest in seen:
            raise InputError(f"{rule}: {digest} is the same as itself, in a circle; remove one of these rows")
        seen.add(digest)
    return digest


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table as they stand. Raises InputError if it has other columns."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path}: the columns are {rows.fieldnames}, not {', '.join(COLUMNS)}; restore the table")
        return list(rows)


def add_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Add rows to the table, below those that are there."""
    every = [*(read_rows(path) if path.exists() else []), *rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)
