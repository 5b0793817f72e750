"""The workflow's own tables: every column comes back with its type, and a name stays a name."""

import pandas as pd
import pytest

from equinuclei.errors import InputError
from equinuclei.tables.files import read_table, write_table

NAN = float("nan")
NAMES = ["None", "NA", "nan", "NaN", "null", "1e5", "007", "True", "", 'a "b"\tc', "=1+1", "'=1", "-x"]


def test_floats_have_six_digits_and_what_is_missing_is_written_so(tmp_path):
    table = pd.DataFrame(
        {"name": ["a", "b", "c", "d"], "count": [1234567, 0, 1, 2], "value": [1 / 3, 0.0, -0.0, NAN], "cost": 1234567.0}
    )
    table["parameters"] = pd.array([1940001, None, 3, 4], dtype="Int64")
    write_table(table, tmp_path / "new" / "table.tsv")
    assert (tmp_path / "new" / "table.tsv").read_bytes().decode().split("\n") == [
        "name\tcount\tvalue\tcost\tparameters",
        "a\t1234567\t0.333333\t1.23457e+06\t1940001",
        "b\t0\t0\t1.23457e+06\tNaN",
        "c\t1\t0\t1.23457e+06\t3",
        "d\t2\tNaN\t1.23457e+06\t4",
        "",
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.tsv"]
    write_table(table.tail(1), tmp_path / "table.tsv", missing="")
    assert (tmp_path / "table.tsv").read_text().splitlines()[1] == "d\t2\t\t1.23457e+06\t4"


@pytest.mark.parametrize("column", ["cell_line", "model", "note"])
def test_text_comes_back_as_it_was_written(tmp_path, column):
    name = "study/f1_by_cell_line.tsv" if column != "note" else "study/contrasts.tsv"
    write_table(pd.DataFrame({"dataset": "d", column: NAMES}), tmp_path / "t.tsv")
    table = read_table(tmp_path / "t.tsv", name)
    assert table[column].tolist() == NAMES and table["dataset"].eq("d").all()


def test_a_table_of_text_alone_has_no_missing_values(tmp_path):
    table = pd.DataFrame({"image_id": NAMES, "cell_line": NAMES, "group": NAMES, "part": "train"})
    write_table(table, tmp_path / "splits.tsv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "splits.tsv", "study/splits.tsv"), table)


@pytest.mark.parametrize("missing", ["", "NaN"])
def test_a_missing_number_is_nan_and_whole_numbers_are_numbers(tmp_path, missing):
    table = pd.DataFrame({"model": ["a", "otsu"], "parameters": pd.array([12, None], "Int64"), "pixel_F1": [1.0, NAN]})
    write_table(table.assign(images=4, gflops=2), tmp_path / "f1.tsv", missing=missing)
    found = read_table(tmp_path / "f1.tsv", "study/f1.tsv")
    types = {"parameters": "float64", "pixel_F1": "float64", "images": "int64", "gflops": "float64"}
    assert found[list(types)].dtypes.astype(str).to_dict() == types
    assert found["parameters"].tolist()[:1] == [12] and found.iloc[1][["parameters", "pixel_F1"]].isna().all()


def test_booleans_may_be_missing(tmp_path):
    (tmp_path / "accuracy.tsv").write_text("method\tidentical\nmodel\tTrue\nOtsu\t\n")
    found = read_table(tmp_path / "accuracy.tsv", "study/accuracy.tsv")["identical"]
    assert found.iloc[0] and found.isna().tolist() == [False, True]


def test_wanted_columns_come_in_the_order_asked_for(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,train_loss,of_other_code\n1,0.5,x\n")
    found = read_table(tmp_path / "history.csv", "study/history.csv", ["train_loss", "epoch"])
    assert found.to_dict("list") == {"train_loss": [0.5], "epoch": [1]}


def test_a_table_without_rows_has_its_columns(tmp_path):
    (tmp_path / "f1.tsv").write_text("model\timages\tpixel_F1\n")
    assert list(read_table(tmp_path / "f1.tsv", "study/f1.tsv").columns) == ["model", "images", "pixel_F1"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("model\tsize\na\t1\n", "'size' is no column of the table study/f1.tsv"),
        ("model\timages\na\tfew\n", "not a table as the workflow writes it"),
        ("model\timages\na\t1.5\n", "column 'images' does not hold integers"),
        ("model\tpixel_F1\na\thigh\n", "not a table as the workflow writes it"),
        ("", "not a table as the workflow writes it"),
        ("model\timages\na\t1\nb\t2\t3\n", "not a table as the workflow writes it"),
    ],
)
def test_a_broken_table_is_one_message(tmp_path, text, message):
    (tmp_path / "f1.tsv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_table(tmp_path / "f1.tsv", "study/f1.tsv")
    assert str(tmp_path / "f1.tsv") in str(caught.value)


def test_a_missing_file_and_a_missing_column_are_told(tmp_path):
    with pytest.raises(InputError, match=r"f1\.tsv does not exist"):
        read_table(tmp_path / "f1.tsv", "study/f1.tsv")
    (tmp_path / "f1.tsv").write_bytes("model\n\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match="not a table"):
        read_table(tmp_path / "f1.tsv", "study/f1.tsv")
    (tmp_path / "f1.tsv").write_text("model\na\n")
    with pytest.raises(InputError, match="column 'images' is missing"):
        read_table(tmp_path / "f1.tsv", "study/f1.tsv", ["model", "images"])
