"""The tables of a plate as CSV files beside its page: RFC 4180, UTF-8, and safe to open in a spreadsheet."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from equinuclei.tables.files import without_formulas

_FORM = {"index": False, "float_format": "%.6g", "lineterminator": "\r\n"}


def write_downloads(
    folder: Path,
    wells: pd.DataFrame,
    fields: pd.DataFrame,
    nuclei: str | Path | None,
    plate_map: pd.DataFrame | None = None,
) -> list[dict[str, object]]:
    """Write wells.csv, fields.csv and nuclei.zip (with nuclei.csv, which may have millions of rows) into a folder.

    Text that a spreadsheet would take for a formula gets an apostrophe in front of it.

    Parameters
    ----------
    wells, fields
        Tables of `equinuclei.plates.measure.measure_plate`.
    nuclei
        Its Parquet file; None: no file is made.
    plate_map
        See `equinuclei.plates.quality.read_plate_map`: its columns are added to every table.

    Returns
    -------
    list of dict
        Per file: name, label (what it holds), rows and bytes.
    """
    found = []
    for label, table in (("wells", wells), ("fields", fields)):
        path = folder / f"{label}.csv"
        path.write_text(_to_csv(_with_map(table, plate_map)), encoding="utf-8", newline="")
        found.append({"name": path.name, "label": label, "rows": len(table), "bytes": path.stat().st_size})
    if nuclei is not None:
        path = folder / "nuclei.zip"
        rows = _zip_nuclei(nuclei, path, plate_map)
        found.append({"name": path.name, "label": "nuclei", "rows": rows, "bytes": path.stat().st_size})
    return found


def _with_map(table: pd.DataFrame, plate_map: pd.DataFrame | None) -> pd.DataFrame:
    return table if plate_map is None else table.merge(plate_map, on="well", how="left")


def _to_csv(table: pd.DataFrame, *, header: bool = True) -> str:
    return without_formulas(table).to_csv(None, header=header, **_FORM)


def _zip_nuclei(nuclei: str | Path, path: Path, plate_map: pd.DataFrame | None) -> int:
    """Write nuclei.csv into a zip file, one well in memory at a time; returns the number of its rows."""
    rows = 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("nuclei.csv", "w", force_zip64=True) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="") as file,
    ):
        for number, table in enumerate(_row_groups(nuclei)):
            file.write(_to_csv(_with_map(table, plate_map), header=number == 0))
            rows += len(table)
    return rows


def _row_groups(path: str | Path) -> Iterator[pd.DataFrame]:
    with pq.ParquetFile(path) as file:
        for number in range(max(1, file.num_row_groups)):
            yield (file.read_row_group(number) if file.num_row_groups else file.read()).to_pandas()
