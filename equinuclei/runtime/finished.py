"""Which results are finished: the record that stands in a result, of the key it was made under and its other files.

A result is finished for a job if its record names the job's key and every file that belongs to it has the recorded
checksum. A folder holds its record as `RECORD`; a training has it in run.json. What stands under a result's name and is
not finished (another key's, an earlier version's, a set of which a file is gone) is moved aside by the job that makes
it anew: never mixed with the new, and never removed.
"""

import json
import logging
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from equinuclei.checksums import RECORD, sha256

logger = logging.getLogger("equinuclei")


def checksums(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files by their names: the entry `files` of a record."""
    return {path.name: sha256(path) for path in files}


def read_made(record: Path) -> dict[str, Any]:
    """What a record holds; empty if there is none, or it is broken: what it stands in then counts as unfinished."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def made_from(folder: str | Path) -> dict[str, Any]:
    """The record of a folder that `equinuclei.runtime.files.make_folder` made; empty if it has none."""
    return read_made(Path(folder, RECORD))


def is_made(record: Path, key: str, files: Sequence[Path]) -> bool:
    """Whether a result is finished: its record names the key, and the files are those that were made with it."""
    found = read_made(record)
    recorded = found.get("files")
    if found.get("key") != key or not isinstance(recorded, dict):
        return False
    return all(path.is_file() and sha256(path) == recorded.get(path.name) for path in files)


def move_aside(paths: Sequence[Path]) -> None:
    """Rename what stands under the names of a result that is made anew, all with one suffix; warn of it."""
    present = [path for path in paths if path.is_symlink() or path.exists()]
    suffix = f"replaced-{uuid.uuid4().hex[:6]}"
    for path in present:
        path.rename(path.with_name(f"{path.name}.{suffix}"))
    if present:
        logger.warning(
            "%s: what stood there was not made from these inputs by this code, or was not whole; it is kept as %s: "
            "remove it if nobody needs it",
            present[0], ", ".join(f"{path.name}.{suffix}" for path in present),
        )  # fmt: skip
