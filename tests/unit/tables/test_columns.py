"""What columns mean: told once, in a form that can be read by eye and by machine."""

from collections import Counter

import numpy as np
import pytest

from equinuclei.dataset.parts import FIELDS_COLUMNS, PREDICTIONS_COLUMNS, SPLITS_COLUMNS
from equinuclei.images.measure import measure_nuclei
from equinuclei.plates.convert import PLATE_FIELDS_COLUMNS
from equinuclei.plates.ledger import LEDGER_COLUMNS
from equinuclei.plates.overview import COLUMNS as OVERVIEW_COLUMNS
from equinuclei.plates.scan_table import COLUMNS as SCAN_COLUMNS
from equinuclei.tables.columns import COLUMNS_FILE, TYPES, Column, column_of, tables


def test_the_file_is_a_plain_table_of_sentences():
    lines = COLUMNS_FILE.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["tables", "column", "type", "unit", "meaning"]
    for line in lines[1:]:
        of, name, kind, _, meaning = line.split("\t")
        assert (
            of
            and name
            and kind in TYPES
            and len(meaning) > 1
            and meaning == meaning.strip()
            and not meaning.endswith(".")
        ), line
        assert all(table.split("/")[0] in ("study", "plates", "images") for table in of.split()), line


def test_a_column_is_told_once_per_table():
    for table, columns in tables().items():
        counts = Counter(column.name for column in columns)
        assert max(counts.values()) == 1, (table, counts.most_common(1))


@pytest.mark.parametrize(
    "table, columns",
    [
        ("study/fields.tsv", FIELDS_COLUMNS),
        ("study/splits.tsv", SPLITS_COLUMNS),
        ("study/predictions.tsv", PREDICTIONS_COLUMNS),
        ("plates/scan.tsv", SCAN_COLUMNS),
        ("plates/fields.parquet", PLATE_FIELDS_COLUMNS),
        ("plates/planes.parquet", LEDGER_COLUMNS),
        ("plates/plates.tsv", OVERVIEW_COLUMNS),
    ],
)
def test_tables_whose_columns_the_code_lists_are_told_whole(table, columns):
    assert {column.name for column in tables()[table]} == set(columns)


def test_all_that_is_measured_of_a_nucleus_is_told():
    labels = np.ones((3, 3), int)
    measured = set(measure_nuclei(labels, [labels], channels=["DAPI"]))
    for table, columns in (
        ("plates/nuclei.parquet", measured | {"plate", "well", "time"}),
        ("images/nuclei.tsv", measured - {"field"} | {"image"}),
    ):
        told = tables()[table]
        assert all(column_of(table, name) for name in columns)
        assert all(any(map(column.fits, columns)) for column in told)


def test_a_pattern_stands_for_names_and_gives_way_to_one():
    assert Column("mean_<channel>", "number", "", "").fits("mean_DAPI (1)")
    assert not Column("mean_<channel>", "number", "", "").fits("mean_")
    assert Column("a.b", "text", "", "").fits("a.b") and not Column("a.b", "text", "", "").fits("axb")
    assert column_of("study/scores.parquet", "object85_F1").name == "object<percent>_F1"
    assert column_of("plates/wells.tsv", "mean_intensity").name == "mean_intensity"
    assert column_of("study/f1.tsv", "nothing") is None
