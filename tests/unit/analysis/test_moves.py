"""The table of moved images, its figure and its words, from scores whose truth is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from equinuclei.analysis.moves import moves_table
from equinuclei.figures.moves import draw_moves, move_lines
from equinuclei.pages.study_moves import moved_answer
from equinuclei.tables.files import read_table, write_table

TURNS, SHIFTS = (15, 45, 90), (1, 16)
MOVES = [*(("turn", degrees) for degrees in TURNS), *(("shift", shift) for shift in SHIFTS)]
TWINS = {"net": "net", "net-p4": "net"}
FAILED = ["dataset", "modality", "model", "seed", "reason"]


def missed(model, move, amount, image):
    """How many pixels and objects fewer a model finds of a moved image."""
    if model == "otsu":
        return 4 if (move, amount) in (("turn", 15), ("turn", 45)) else 0
    if move == "shift":
        return {1: 6, 16: 1}[amount] + (model == "net-p4") * (2 + image % 3) + image % 2
    return 0 if amount == 90 and model == "net-p4" else 5 + image % 3


def moved(seeds=(0, 1), images=12, small=0):
    rows = []
    for (model, seed), (move, amount), image in product([*product(TWINS, seeds), ("otsu", 0)], MOVES, range(images)):
        if move == "shift" and image < small:
            continue
        row = {"dataset": "demo", "model": model, "inference": "deployed", "modality": "fluorescence", "seed": seed}
        row |= {"image_id": f"i{image}", "cell_line": "ab"[image % 2], "group": f"g{image}", "part": "test"}
        row |= {"move": move, "amount": amount}
        fewer = missed(model, move, amount, image)
        for level in ("pixel", "object50"):
            row |= {f"{level}_TP": 100 - fewer, f"{level}_FP": 0, f"{level}_FN": fewer}
            row |= {f"{level}_TP_reference": 100, f"{level}_FP_reference": 0, f"{level}_FN_reference": 0}
        rows.append(row)
    return pd.DataFrame(rows)


def table_of(scores, failures=()):
    return moves_table(scores, pd.DataFrame(failures, columns=FAILED), list(TWINS), TWINS)


@pytest.fixture(scope="module")
def table():
    return table_of(moved())


def row(table, model, move, amount, level="pixel"):
    keys = ["model", "move", "amount", "level"]
    return table.set_index(keys).loc[(model, move, amount, level)]


def test_a_row_per_model_move_and_level_in_order(table):
    assert len(table) == 3 * len(MOVES) * 2
    assert (
        list(table.drop_duplicates(["move", "amount"])[["move", "amount"]].itertuples(index=False, name=None)) == MOVES
    )
    assert list(dict.fromkeys(table["model"])) == ["net", "net-p4", "otsu"]


def test_differences_are_those_of_f1_with_their_interval(table):
    net = row(table, "net", "turn", 45)
    by_image = [1 - 2 * (100 - fewer) / (200 - fewer) for fewer in (missed("net", "turn", 45, i) for i in range(12))]
    assert net["mean_absolute"] == pytest.approx(np.mean(by_image))
    assert net["max_absolute"] == pytest.approx(max(by_image))
    assert net["low"] < net["mean_absolute"] < net["high"]
    assert (net["images"], net["groups"], net["seeds"], net["comparisons"], net["left_out"]) == (12, 12, 2, 24, 0)
    assert net["otsu_mean_absolute"] == row(table, "otsu", "turn", 45)["mean_absolute"] > 0
    assert row(table, "net", "turn", 45, "object50")["mean_absolute"] == net["mean_absolute"]
    assert row(table, "net-p4", "turn", 90)["exact_zeros"] == row(table, "otsu", "shift", 1)["exact_zeros"] == 1


def test_a_model_is_compared_with_its_plain_twin_and_a_plain_one_with_none(table):
    assert row(table, "net-p4", "turn", 90)["twin_high"] < 0  # steadier
    assert row(table, "net-p4", "turn", 45)["twin_difference"] == 0
    assert row(table, "net-p4", "shift", 1)["twin_low"] > 0
    assert set(table.loc[table["model"] != "net-p4", "twin"]) == {""}
    assert table.loc[table["model"] != "net-p4", "twin_difference"].isna().all()


def test_failed_trainings_count_nowhere(table):
    failure = ("demo", "fluorescence", "net-p4", 0, "finds nothing")
    found = table_of(moved(), [failure])
    one = row(found, "net-p4", "turn", 45)
    assert (one["seeds"], one["comparisons"], one["left_out"]) == (1, 12, 12) and np.isfinite(one["twin_difference"])
    none = row(table_of(moved(), [failure, (*failure[:3], 1, "finds nothing")]), "net-p4", "turn", 45)
    assert none["comparisons"] == none["images"] == 0 and none["twin"] == "net"
    assert np.isnan(none[["mean_absolute", "low", "high", "twin_difference"]].astype(float)).all()


def test_empty_predictions_of_an_image_with_nuclei_say_nothing():
    scores = moved()
    for level, end in product(("pixel", "object50"), ("", "_reference")):
        scores.loc[scores["image_id"] == "i0", [f"{level}_TP{end}", f"{level}_FN{end}"]] = 0, 100
    found = row(table_of(scores), "net", "turn", 45)
    assert (found["images"], found["left_out"]) == (11, 2)


def test_images_that_are_too_small_are_counted_and_told():
    table = table_of(moved(small=5))
    assert row(table, "net", "shift", 16)["too_small"] == 5 and row(table, "net", "turn", 15)["too_small"] == 0
    assert row(table, "net", "shift", 16)["images"] == 7
    assert "5 images are too small" in " ".join(moved_answer(table, "fluorescence")["told"])
    told = moved_answer(table_of(moved(small=12)), "fluorescence")
    assert "No image is large enough to be shifted." in told["told"] and len(told["heads"]) == 4


def test_the_page_says_where_equivariance_helps_and_what_a_shift_does(table):
    answer = moved_answer(table, "fluorescence")
    words = " ".join(answer["told"])
    assert "Turned by 15 and 45 degrees, F1 changes on average by 0.0309 (pixels) and by 0.0309 (objects)" in words
    assert "at the quarter turn: steadier by pixels and steadier by objects" in words
    assert "In between, of 4 comparisons (angles, by pixels and by objects): steadier in 0, less steady in 0" in words
    assert "Shifted by 1 pixel" in words and "shifted by 16, where" in words
    assert [cells["name"] for cells in answer["rows"]] == ["net", "net-p4", "otsu"]
    assert answer["rows"][1]["cells"][2] == {"text": "0", "value": 0.0}  # turned by 90 degrees
    assert all(len(cells["cells"]) == len(answer["heads"]) == 8 for cells in answer["rows"])
    assert moved_answer(None, "fluorescence") is None


def test_one_group_of_images_gives_no_interval_and_still_words_and_a_figure(tmp_path):
    table = table_of(moved(seeds=(0,), images=1))
    assert table["low"].isna().all() and table["mean_absolute"].notna().all()
    assert "cannot be compared with its plain twin net" in " ".join(moved_answer(table, "fluorescence")["told"])
    move_lines(table)


def test_the_figure_has_a_panel_per_move_and_level_and_is_the_same_in_every_run(table, tmp_path):
    figure = move_lines(table)
    assert [axes.get_xlabel() for axes in figure.axes] == ["turned by (degrees)"] * 2 + ["shifted by (pixels)"] * 2
    joined = figure.axes[0].lines[0].get_xdata()
    assert len(joined) == 2  # the quarter turn stands apart
    assert len(figure.axes[2].lines[0].get_xdata()) == len(SHIFTS)
    write_table(table, tmp_path / "t.tsv")
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "t.tsv", "study/turns_and_shifts.tsv"), table, check_dtype=False
    )
    for name in ("a", "b"):
        draw_moves(tmp_path / "t.tsv", models=list(TWINS), figure=tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").is_file()
