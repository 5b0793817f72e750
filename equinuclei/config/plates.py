"""The section `plates` of the configuration: which model, channel and plate map each plate of the inbox gets."""

import csv
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from equinuclei.checksums import digest
from equinuclei.errors import InputError, check_known
from equinuclei.file_names import name_pattern
from equinuclei.library.names import WEIGHTS, find_weights
from equinuclei.plates.inbox import waiting_plates
from equinuclei.plates.scan_table import NOT_TO_BE_PROCESSED, READY, read_scan
from equinuclei.tables.formulas import unguarded


class Plates:
    """What is done with the plates of an inbox. Raises InputError for a layout that cannot be used, its methods for a
    table.

    section : the section `plates` of the checked configuration
    """

    COLUMNS = ("plate", "channel", "model", "exclude", "plate_map", "truth", "project")

    def __init__(self, section: Mapping) -> None:
        self.section = section
        if isinstance(section["layout"], Mapping):
            name_pattern(section["layout"])  # a pattern that cannot be used is refused before any work
        self.results: str = section["results"].rstrip("/")
        self.scan = f"{self.results}/scan.tsv"

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        return _read_plates_table(self.section["table"], self.COLUMNS) if self.section["table"] else {}

    @cached_property
    def digest(self) -> str:
        """Digest of what decides how a plate is processed: when it changes, plates that failed are tried again."""
        without_effect = (
            "inbox", "results", "quiet_minutes", "absent_hours", "device", "threads", "parts", "table", "page_images",
        )  # fmt: skip
        return digest([{key: value for key, value in self.section.items() if key not in without_effect}, self._rows])

    @property
    def named(self) -> tuple[str, ...]:
        """The plates that the table of plates names."""
        return tuple(self._rows)

    @property
    def excluded(self) -> tuple[str, ...]:
        """The plates that the table of plates excludes."""
        return tuple(plate for plate in self._rows if self._of(plate, "exclude").lower() in _YES)

    def waiting(self) -> list[str]:
        """The plates to process: complete, not failed as they are, suited by the settings, and not excluded.

        A plate that is not converted yet also has to lie in the inbox as it was when it was complete.
        """
        scanned = read_scan(self.scan)
        left_alone = {plate.plate for plate in scanned if plate.status in NOT_TO_BE_PROCESSED} | set(self.excluded)
        ready = {plate.plate for plate in scanned if plate.status == READY}
        left_alone |= {plate.plate for plate in scanned if plate.plate not in ready and not self._is_begun(plate.plate)}
        return [plate for plate in waiting_plates(self.results, self.digest) if plate not in left_alone]

    def _is_begun(self, plate: str) -> bool:
        """Whether a plate needs its raw folder no more: it is converted, or has its page."""
        folder = Path(self.results, plate)
        return (folder / "plate.ome.zarr").exists() or any(folder.glob("*/report.html"))

    def finished(self) -> list[tuple[str, str]]:
        """The plates of `waiting` that have their page, each with the name of its model in paths."""
        plates = [(plate, self.model_of(plate)) for plate in self.waiting()]
        return [(plate, model) for plate, model in plates if Path(self.results, plate, model, "report.html").is_file()]

    def channel_of(self, plate: str) -> str | float | list[str | float] | None:
        """The channel that a plate's nuclei are seen in; several are tried in order."""
        names: list[str | float] = [name.strip() for name in self._of(plate, "channel").split("|") if name.strip()]
        return (names[0] if len(names) == 1 else names) or self.section["channel"]

    def project_of(self, plate: str) -> str:
        """The project that a plate belongs to; empty where the table of plates names none."""
        return self._of(plate, "project")

    def model_of(self, plate: str) -> str:
        """Name of a plate's model in paths: its name in the library, or the name of its weights' folder."""
        weights = Path(self.weights_of(plate))
        return weights.parent.name if weights.name == WEIGHTS else weights.stem

    def weights_of(self, plate: str) -> str:
        """Weights that a plate is segmented with. Raises InputError if the configuration names none that is there."""
        return str(find_weights(self._of(plate, "model") or self.section["model"], self.section["models"]))

    def plate_map_of(self, plate: str) -> str:
        """The file that says what is in a plate's wells; empty where there is none."""
        return self._beside_table(plate, "plate_map")

    def truth_of(self, plate: str) -> str:
        """The folder with the true labels of a plate's wells; empty where they are unknown."""
        return self._beside_table(plate, "truth")

    def _beside_table(self, plate: str, column: str) -> str:
        name = self._of(plate, column)
        return str(Path(self.section["table"]).parent / name) if name else ""

    def _of(self, plate: str, column: str) -> str:
        return self._rows.get(plate, {}).get(column, "")


_YES = ("yes", "true", "1", "x")
"""What excludes a plate in the column `exclude`, in any case of letters."""


def _read_plates_table(path: str | Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Rows of plates.tsv by plate. Raises InputError for a missing table, an unknown column or a repeated plate."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable table ({error}); `plates: {{table: ...}}` names it") from error
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for column in row:
            check_known(f"column in {path}:", column, columns)
        if not row.get("plate"):
            raise InputError(f"{path}: a row has no plate; the column holds identifiers as in scan.tsv")
        if row["plate"] in found:
            raise InputError(f"{path}: plate {row['plate']!r} is listed twice")
        found[unguarded(row["plate"])] = {column: unguarded((value or "").strip()) for column, value in row.items()}
    return found
