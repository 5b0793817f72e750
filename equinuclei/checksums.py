"""Checksums of files, folders and values."""

import hashlib
import json
from pathlib import Path

RECORD = ".made.json"
"""What `equinuclei.runtime.files.make_folder` leaves in a folder about what it was made from: no part of the result."""

_NO_CONTENT = frozenset({RECORD, ".snakemake_timestamp"})


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(folder: str | Path) -> str:
    """SHA-256 over the names and contents of all files of a folder, as hexadecimal digits.

    Left out are what is no content: Snakemake's own `.snakemake_timestamp`, and the record of what it was made from.
    """
    folder = Path(folder)
    summary = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name not in _NO_CONTENT:
            summary.update(f"{path.relative_to(folder).as_posix()}\n{sha256(path)}\n".encode())
    return summary.hexdigest()


def digest(value: object) -> str:
    """SHA-256 of a JSON value (of its canonical text), as hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
