"""Finding out whether the source files of a data set are those that were converted.

Imports the standard library alone, as `equinuclei.config.study` does, because it runs whenever the workflow is parsed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from equinuclei.checksums import digest, sha256
from equinuclei.runtime.files import replacing

SUFFIXES = (".tif", ".tiff", ".png", ".csv")
"""File name endings that belong to a source with the layout "folder"."""


def source_state(source: Mapping, record: Path) -> str:
    """A digest of the names, sizes and modification times of all source files: it changes when one of them does.

    source : mapping with layout and path (see `equinuclei.sources.read_source`).
    record : source.json of the conversion, which need not exist yet.

    The recorded state is returned where the source has been removed since its conversion, and where its files have new
    modification times but the same names and bytes, as after copying them again. Comparing the bytes takes reading all
    files; it is done once, as `.source_seen` beside the record keeps the state that has been verified.
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
        with suppress(OSError), replacing(seen) as temporary:  # read-only results: the files are read again next time
            temporary.write_text(json.dumps(verified), encoding="utf-8")
    return known["state"]


def source_files(source: Mapping) -> list[Path]:
    """Existing files of a source: the images, masks and tables of a folder, or a table and the files that it lists."""
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
    """The table and the files that it lists. A broken table is reported by the conversion, not here."""
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
