"""CSV files that any program reads back, and in which no name is a formula."""

import csv
import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from equinuclei.plates.downloads import write_downloads

NAMES = ["=1+1", "+x", "-2", "@SUM(A1)", "\tx", 'with "quotes", commas', "two\nlines", "Ω µm", "plain"]


@pytest.fixture
def files(tmp_path):
    names = [f"A{n:02d}" for n in range(1, len(NAMES) + 1)]
    wells = pd.DataFrame({"well": names, "count": range(len(names)), "change": -1.5, "focus": np.nan})
    fields = wells.assign(field=1, status="ok")
    plate_map = pd.DataFrame({"well": names, "treatment": NAMES, "concentration": -0.5, "control": ""})
    nuclei = pd.DataFrame({"plate": "=cmd", "well": np.repeat(names, 3), "label": 7, "mean_=x": 0.25, "edge": True})
    nuclei.to_parquet(tmp_path / "nuclei.parquet", row_group_size=4)
    found = write_downloads(tmp_path, wells, fields, tmp_path / "nuclei.parquet", plate_map)
    return tmp_path, found


def rows(raw):
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))


def test_tables_are_whole_and_of_rfc_4180(files):
    folder, found = files
    raw = (folder / "wells.csv").read_bytes()
    read = rows(raw)
    assert [row["treatment"].removeprefix("'") for row in read] == NAMES
    assert {row["change"] for row in read} == {"-1.5"} and {row["concentration"] for row in read} == {"-0.5"}
    assert {row["focus"] for row in read} == {""} and raw.count(b"\r\n") == len(NAMES) + 1
    assert [(file["name"], file["rows"]) for file in found] == [("wells.csv", 9), ("fields.csv", 9), ("nuclei.zip", 27)]
    assert all(file["bytes"] == (folder / file["name"]).stat().st_size for file in found)


def test_no_text_is_a_formula(files):
    folder, _ = files
    with zipfile.ZipFile(folder / "nuclei.zip") as archive:
        nuclei = rows(archive.read("nuclei.csv"))
    for row in [*rows((folder / "wells.csv").read_bytes()), *rows((folder / "fields.csv").read_bytes()), *nuclei]:
        for column in ("plate", "well", "treatment", "control"):
            assert not row.get(column, "").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert len(nuclei) == 27 and {row["plate"] for row in nuclei} == {"'=cmd"} and nuclei[0]["edge"] == "True"


def test_a_plate_without_nuclei_has_a_header(tmp_path):
    pd.DataFrame({"well": pd.Series([], dtype=str), "area": pd.Series([], dtype=float)}).to_parquet(
        tmp_path / "n.parquet"
    )
    wells = pd.DataFrame({"well": ["A01"], "count": [0]})
    assert write_downloads(tmp_path, wells, wells, tmp_path / "n.parquet")[2]["rows"] == 0
    assert zipfile.ZipFile(tmp_path / "nuclei.zip").read("nuclei.csv") == b"well,area\r\n"
