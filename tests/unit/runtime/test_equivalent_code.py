"""A refactoring that changed no byte keeps the digest that results are recorded with."""

from pathlib import Path

import pytest

from equinuclei.errors import InputError
from equinuclei.runtime.equivalent_code import COLUMNS, TABLE, RuleCode, add_rows, first_equivalent, read_equivalents
from equinuclei.specs import ARCHITECTURES

ROOT = Path(__file__).parents[3]


def row(digest, same_as, rule="train_model"):
    return dict(zip(COLUMNS, (rule, "", digest, same_as, "a test"), strict=True))


@pytest.fixture
def table(tmp_path):
    return tmp_path / "equivalent_code.tsv"


def test_chains_are_followed_to_their_end(table):
    add_rows(table, [row("b", "a"), row("c", "b")])
    add_rows(table, [row("d", "c"), row("c", "x", rule="score_test")])
    found = read_equivalents(table)
    assert [first_equivalent("train_model", digest, found) for digest in "abcdx"] == ["a", "a", "a", "a", "x"]
    assert first_equivalent("score_test", "c", found) == "x" and first_equivalent("score_test", "b", found) == "b"


def test_without_a_table_every_digest_is_itself(table):
    assert read_equivalents(table) == {}
    assert first_equivalent("train_model", "a", {}) == "a"


@pytest.mark.parametrize(
    "rows, problem",
    [
        ([row("b", "a"), row("a", "b")], "in a circle"),
        ([row("a", "a")], "in a circle"),
        ([row("b", "a"), row("b", "c")], "stands twice"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(table, rows, problem):
    add_rows(table, rows)
    with pytest.raises(InputError, match=problem):
        read_equivalents(table)


def test_a_table_with_other_columns_is_refused(table):
    table.write_text("rule\tdigest\n")
    with pytest.raises(InputError, match="the columns are"):
        read_equivalents(table)


def test_results_are_recorded_with_the_first_equivalent(tmp_path):
    scripts = tmp_path / "workflow/scripts"
    scripts.mkdir(parents=True)
    (scripts / "split_dataset.py").write_text("print(1)\n")
    digest = RuleCode(tmp_path).of("split_dataset")
    add_rows(tmp_path / TABLE, [row(digest, "old", rule="split_dataset")])
    assert RuleCode(tmp_path).of("split_dataset") == "old" and RuleCode(tmp_path).digest("split_dataset") == digest


def test_the_table_of_the_project_can_be_used():
    read_equivalents(ROOT / TABLE)
    code = RuleCode(ROOT)
    assert all(len(code.of("train_model", architecture)) == 16 for architecture in ARCHITECTURES)
