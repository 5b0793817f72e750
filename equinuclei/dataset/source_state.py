"""Whether the source files of a data set are those that were converted.

Imports the standard library alone, as `equinuclei.config.study` does: it is asked whenever the workflow is parsed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from equinuclei.checksums import digest, sha256
from equinuclei.runtime.files import replacing

SUFFIXES = (".tif", ".tiff", ".png", ".csv")
"""Endings of the files of a source with the layout "folder" that count."""


def source_state(source: Mapping, record: Path) -> str:
    """A digest that changes when a source file does: of the names, sizes and times of all of them.

    source : mapping with layout and path (see `equinuclei.sources.read_source`).
    record : source.json of the conversion, which may not be there yet.

    What was converted keeps the state that it was converted in, in two cases: where the source was removed since, and
    where its files have other times but the same names and bytes, as after copying them anew. To know the latter all
    files are read, once: `.source_seen` beside the record keeps the state that was found to have the same bytes.
    """
    known = _read(record)
    if not Path(source["path"]).exists():
        return known.get("state", "")
    files = source_files(source)
    state = digest([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])
    if state == known.get("state") or "content" not in known:
        return state
    seen = record.with_name(".source_seen")
    verified = {"state": state, "content": known["content"]}
    if _read(seen) != verified:
        if source_content(files) != known["content"]:
            return state
        with suppress(OSError), replacing(seen) as temporary:  # where the results cannot be written all is read again
            temporary.write_text(json.dumps(verified), encoding="utf-8")
    return known["state"]


def source_files(source: Mapping) -> list[Path]:
    """The files of a source that exist: a folder's images, masks and tables, or a table and what it names."""
    path = Path(source["path"])
    files = _table_files(path) if source["layout"] == "table" else _folder_files(path)
    return [file for file in dict.fromkeys(files) if file.is_file()]


def source_content(files: Sequence[Path]) -> str:
    """Digest of the names and bytes of files."""
    with ThreadPoolExecutor() as pool:
        return digest([[str(file), checksum] for file, checksum in zip(files, pool.map(sha256, files), strict=True)])


def _folder_files(folder: Path) -> Iterable[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _table_files(table: Path) -> Iterator[Path]:
    """The table and the files that it names; a broken table is reported by the conversion, not here."""
    yield table
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    separator = "," if table.suffix.lower() == ".csv" else "\t"
    header, *rows = [line.split(separator) for line in lines] or [[]]
    columns = [header.index(name) for name in ("image", "mask") if name in header]
    for row in rows:
        yield from (table.parent / row[column] for column in columns if column < len(row))


def _read(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
