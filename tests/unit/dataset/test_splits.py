"""Splits: partition, whole groups, exact sizes, independence of row order, and unusable input."""

import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.dataset.splits import PARTS, split_dataset, write_splits
from equinuclei.errors import InputError


def fields(lines: dict[str, list[int]], split: str = "") -> pd.DataFrame:
    """Images of cell lines, given as the sizes of their groups."""
    rows = [
        (f"{line}_{group}_{image}", line, f"{line}_{group}" if size > 1 else f"{line}_{group}_{image}", split)
        for line, sizes in lines.items()
        for group, size in enumerate(sizes)
        for image in range(size)
    ]
    return pd.DataFrame(rows, columns=["image_id", "cell_line", "group", "split"])


def counts(table: pd.DataFrame) -> list[int]:
    return [int((table["part"] == part).sum()) for part in PARTS]


def check_groups_whole(table: pd.DataFrame) -> None:
    assert table[["group", "part"]].drop_duplicates()["group"].is_unique


@st.composite
def grouped_sizes(draw) -> tuple[dict[str, list[int]], tuple[int, ...]]:
    """Groups of some cell lines, and sizes with which every cell line has a whole quota that its groups can make."""
    quota = draw(st.tuples(st.integers(1, 12), st.integers(0, 6), st.integers(0, 6)))
    lines = {}
    for line in draw(st.lists(st.sampled_from("ABCDE"), unique=True, min_size=1)):
        sizes = []
        for part in quota:
            while part:
                size = draw(st.integers(1, min(part, 4)))
                sizes.append(size)
                part -= size
        lines[line] = draw(st.permutations(sizes))
    return lines, tuple(len(lines) * part for part in quota)


@settings(deadline=None)
@given(grouped_sizes(), st.integers(0, 2**32))
def test_counts_are_met_with_whole_groups(drawn, seed):
    lines, sizes = drawn
    table = fields(lines)
    split = split_dataset(table, sizes, seed)
    assert list(split.columns) == ["image_id", "cell_line", "group", "part"]
    assert split["image_id"].tolist() == sorted(table["image_id"])
    check_groups_whole(split)
    assert counts(split) == list(sizes)
    for _, rows in split.groupby("cell_line"):
        assert counts(rows) == [size // len(lines) for size in sizes]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)),
    st.integers(0, 9),
)
def test_quotas_are_ideal_numbers_rounded(line_sizes, weights, seed):
    total = sum(line_sizes)
    first, second, _ = (total * weight // max(1, sum(weights)) for weight in weights)
    sizes = (first, second, total - first - second)
    split = split_dataset(fields({f"L{i}": [1] * size for i, size in enumerate(line_sizes)}), sizes, seed)
    assert counts(split) == list(sizes)
    for line, rows in split.groupby("cell_line"):
        for found, size in zip(counts(rows), sizes, strict=True):
            ideal = line_sizes[int(line[1:])] * size / total
            assert np.floor(ideal) <= found <= np.ceil(ideal)


@settings(max_examples=50, deadline=None)
@given(grouped_sizes(), st.randoms(use_true_random=False), st.sampled_from([(0.6, 0.2, 0.2), (0.5, 0.5, 0.0)]))
def test_fractions_and_row_order(drawn, random, sizes):
    lines, _ = drawn
    table = fields(lines)
    try:
        split = split_dataset(table, sizes, 3)
    except InputError as error:
        assert "none would be in" in str(error) or "more than any part" in str(error)
        return
    check_groups_whole(split)
    assert sum(counts(split)) == len(table)
    order = list(range(len(table)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(split_dataset(table.iloc[order], sizes, 3), split)


def test_reference_study():
    table = fields({f"line{i}": [1] * 432 for i in range(7)})
    both = pd.concat([table.assign(modality=name) for name in ("fluorescence", "brightfield")])
    split = split_dataset(both, (2016, 504, 504), 1)
    assert len(split) == 3024
    for _, rows in split.groupby("cell_line"):
        assert counts(rows) == [288, 72, 72]
    assert split["part"].tolist() != split_dataset(both, (2016, 504, 504), 2)["part"].tolist()


def test_reference_study_in_wells_of_nine():
    split = split_dataset(fields({f"line{i}": [9] * 48 for i in range(7)}), (2016, 504, 504), 1)
    check_groups_whole(split)
    for _, rows in split.groupby("cell_line"):
        assert counts(rows) == [288, 72, 72]


def test_other_cell_lines_do_not_matter():
    a, b = {"A": [1] * 20}, {"B": [2] * 10}
    alone = split_dataset(fields(a), (0.5, 0.25, 0.25), 5)
    together = split_dataset(fields(b | a), (0.5, 0.25, 0.25), 5)
    assert together[together["cell_line"] == "A"]["part"].tolist() == alone["part"].tolist()


def test_cell_lines_are_drawn_differently():
    split = split_dataset(fields({"A": [1] * 30, "B": [1] * 30}), (30, 16, 14), 5)
    a, b = (rows["part"].tolist() for _, rows in split.groupby("cell_line"))
    assert a != b


def test_largest_remainders_are_rounded_up():
    # Ideal: A 4.2, 1.8 and B 2.8, 1.2.
    split = split_dataset(fields({"A": [1] * 6, "B": [1] * 4}), (7, 3, 0), 0)
    assert [counts(rows) for _, rows in split.groupby("cell_line")] == [[4, 2, 0], [3, 1, 0]]


def test_single_images_are_drawn_evenly():
    # Every image has the same chance of each part: over many seeds, none is always in train.
    table = fields({"A": [1] * 10})
    in_test = sum((split_dataset(table, (6, 2, 2), seed)["part"] == "test").to_numpy() for seed in range(150))
    assert in_test.min() > 10
    assert in_test.max() < 55


def test_large_groups_are_not_always_in_train():
    table = fields({"A": [3] * 4 + [1] * 12})
    parts = {split_dataset(table, (12, 6, 6), seed).query("group == 'A_0'")["part"].iloc[0] for seed in range(40)}
    assert parts == set(PARTS)


def test_greedy_placing_would_fail():
    # 6 = 6 and 9 = 5 + 4 is the only way; a group of 4 or 5 in the part of 6 blocks it.
    for seed in range(10):
        assert counts(split_dataset(fields({"A": [6, 5, 4]}), (9, 6, 0), seed)) == [9, 6, 0]


def test_fractions_take_the_nearest_numbers():
    assert counts(split_dataset(fields({"A": [5] * 4}), (0.6, 0.2, 0.2), 0)) == [10, 5, 5]
    assert counts(split_dataset(fields({"A": [1] * 10}), (0.7, 0.1, 0.2), 0)) == [7, 1, 2]


def test_given_split_is_kept():
    table = fields({"A": [1] * 4}).assign(split=["test", "train", "train", "val"])
    split = split_dataset(table, (99, 0, 0), 0)
    assert split["part"].tolist() == ["test", "train", "train", "val"]


def with_values(column: str, values: list[str]) -> pd.DataFrame:
    return fields({"A": [1] * len(values)}).assign(**{column: values})


@pytest.mark.parametrize(
    ("table", "sizes", "message"),
    [
        (fields({"A": [1] * 9}), (5, 2, 3), r"5 \+ 2 \+ 3 = 10, but the data set has 9 images"),
        (fields({"A": [1] * 9}), (0.5, 0.2, 0.2), "sum to 0.9"),
        (fields({"A": [1] * 9}), (5, 4), "give three numbers"),
        (fields({"A": [1] * 9}), (10, -1, 0), "three numbers of 0 or more"),
        (fields({"A": [1] * 9}), (0.98, 0.01, 0.01), "of 9 images in 9 groups, none would be in val and test"),
        (fields({"A": [4, 4, 1]}), (6, 2, 1), r"'A': whole groups cannot make train 6, val 2, test 1; the nearest is"),
        (fields({"A": [7, 1, 1]}), (5, 2, 2), "group 'A_0' has 7 images, more than any part"),
        (with_values("group", ["g", "g"]).assign(cell_line=["A", "B"]), (1, 1, 0), "group 'g' has cell_line 'A' and"),
        (with_values("split", ["train", ""]), (1, 1, 0), "given for 1 of 2 images"),
        (with_values("split", ["train", "training"]), (1, 1, 0), "split 'training' is not one of"),
        (with_values("split", ["train", "val"]).assign(group="g"), (1, 1, 0), "group 'g' has split 'train' and 'val'"),
        (with_values("cell_line", ["A", "B"]).assign(image_id="i"), (1, 0, 0), "image_id 'i' has cell_line 'A' and"),
        (with_values("group", ["a", "b"]).assign(image_id="i"), (1, 0, 0), "image_id 'i' has group 'a' and 'b'"),
        (fields({}), (0, 0, 0), "there are no images"),
    ],
)
def test_unusable_input(table, sizes, message):
    with pytest.raises(InputError, match=message):
        split_dataset(table, sizes, 0)


def test_write_splits(tmp_path):
    split = split_dataset(fields({"A b": [1] * 4}), (2, 1, 1), 0)
    write_splits(split, tmp_path / "splits.tsv")
    content = (tmp_path / "splits.tsv").read_bytes()
    assert content.startswith(b"image_id\tcell_line\tgroup\tpart\nA b_0_0\tA b\t")
    assert b"\r" not in content
    subprocess.run(["sha256sum", "--check", "--strict", "splits.tsv.sha256"], cwd=tmp_path, check=True)
    assert (tmp_path / "splits.tsv.sha256").read_text().endswith("  splits.tsv\n")
    assert len(list(tmp_path.iterdir())) == 2
