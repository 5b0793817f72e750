"""Tables and figures of models trained on subsets, from simulated scores whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from equinuclei.analysis.contrasts import MEASURES, contrasts_by_cell_line, image_values, interval_table
from equinuclei.analysis.subsets import (
    aggregate_learning_curve,
    aggregate_left_out,
    learning_curve_contrasts,
    learning_curve_table,
    left_out_table,
    subset_sizes,
)
from equinuclei.figures.style import FAILED_COLOUR
from equinuclei.figures.subsets import draw_learning_curve, draw_left_out, learning_curve, left_out_dots
from equinuclei.tables.files import read_table, write_table
from support.contrasts import study

NAMES = {"4groups": 4, "16groups": 16, "all": 60}
CURVE = [
    {"name": model if subset == "all" else f"{model}_{subset}", "model": model, "subset": subset}
    for model in ("net", "net-p4")
    for subset in NAMES
]
LEFT_OUT = [
    {"name": "net_without-HeLa", "model": "net", "subset": "without-HeLa", "without": "HeLa"},
    {"name": "net_without-A549", "model": "net", "subset": "without-A549", "without": "A549"},
    {"name": "net", "model": "net", "subset": "all"},
]


def counts(model, seed, image, rotation):
    """More groups, more found; "net-p4" finds more of few, and the same in every rotation; "net" does not."""
    random = np.random.default_rng([seed, image])
    groups = next((size for name, size in NAMES.items() if model.endswith(name)), 60)
    missed = 60 // groups + int(random.integers(0, 5)) + (rotation // 90 if "p4" not in model else -2)
    if model == "net_without-HeLa" and image % 2 == 0:
        missed += 20
    return 100, 3, max(missed, 0)


def scores(points):
    return study(counts, models=[point["name"] for point in points], seeds=(0, 1), images=24)


@pytest.fixture(scope="module")
def of_curve():
    return scores(CURVE)


@pytest.fixture(scope="module")
def sizes():
    rows = [("4groups", "0", 1)] * 4 + [("4groups", "1", 2)] * 4 + [("16groups", "0", 1)] * 16 + [("all", "", 1)] * 60
    table = pd.DataFrame(rows, columns=["subset", "seed", "images"])
    table["group"] = [f"w{number}" for number in range(len(table))]
    return table.assign(modality="fluorescence")


@pytest.fixture(scope="module")
def curve(of_curve, sizes):
    return learning_curve_table(image_values(of_curve), CURVE, subset_sizes(sizes))


@pytest.fixture(scope="module")
def left_out():
    return left_out_table(image_values(scores(LEFT_OUT)), LEFT_OUT, [])


def test_no_verdict_rests_on_a_failed_training_of_a_subset(of_curve, sizes):
    values, failed = image_values(of_curve), [("net_4groups", "fluorescence", 1)]
    curve = learning_curve_table(values, CURVE, subset_sizes(sizes), failed)
    told = curve[curve["note"] != ""]
    assert set(told["model"]) == {"net"} and set(told["train_groups"]) == {4}
    assert set(told["note"]) == {"1 of 2 trainings of net_4groups failed"}
    contrasts = learning_curve_contrasts(values, CURVE, subset_sizes(sizes), ["net-p4"], failed)
    few = contrasts[contrasts["train_groups"] == 4]
    assert few["verdict"].eq("not decided").all() and few["note"].eq("1 of 2 trainings of net failed").all()
    assert contrasts.loc[contrasts["train_groups"] > 4, "verdict"].ne("not decided").any()
    failed = [("net_without-HeLa", "fluorescence", 0)]
    left_out = left_out_table(image_values(scores(LEFT_OUT)), LEFT_OUT, [], failed)
    of_line = left_out[left_out["cell_line"] == "HeLa"]
    assert of_line["verdict"].eq("not decided").all()
    assert not left_out.loc[left_out["cell_line"] == "A549", "note"].str.contains("failed").any()


def test_a_curve_has_every_point_with_the_interval_of_all_tables(of_curve, curve):
    columns = ["dataset", "modality", "model", "inference", "train_groups", "train_images", "measure"]
    assert curve.columns.tolist() == [*columns, "images", "groups", "seeds", "value", "low", "high", "note"]
    assert len(curve) == len(CURVE) * len(MEASURES)
    f1 = curve[curve["measure"] == "object50_F1"]
    assert f1[["model", "train_groups", "train_images"]].to_numpy().tolist() == [
        [model, groups, images] for model in ("net", "net-p4") for groups, images in ((4, 6), (16, 16), (60, 60))
    ]  # 4 and 8 images with the two seeds, 6 in the mean
    assert f1.groupby("model")["value"].is_monotonic_increasing.all()
    by_name = interval_table(image_values(of_curve)).set_index(["model", "measure"])
    expected = by_name.loc[("net_16groups", "object50_F1"), ["value", "low", "high", "images", "groups", "seeds"]]
    assert f1.iloc[1][["value", "low", "high", "images", "groups", "seeds"]].tolist() == expected.tolist()
    differences = curve[curve["measure"] == "pixel_difference"].groupby("model")["value"].max()
    assert differences["net-p4"] == 0 < differences["net"]


def test_models_are_compared_on_equal_subsets(of_curve, sizes):
    table = learning_curve_contrasts(image_values(of_curve), CURVE, subset_sizes(sizes), ["net-p4"])
    assert len(table) == 3 * len(MEASURES) and set(table["kind"]) == {"exploratory"}
    assert table["train_groups"].drop_duplicates().tolist() == [4, 16, 60]
    assert set(table["a"]) == {"net"} and set(table["b"]) == {"net-p4"}
    f1 = table[table["measure"] == "pixel_F1"].set_index("train_groups")
    assert f1["verdict"].tolist() == ["worse"] * 3 and "p_holm" not in table
    exact = table[table["measure"] == "pixel_difference"]
    assert exact["note"].tolist() == ["b: zero by construction"] * 3


def test_what_a_cell_line_left_out_costs_is_told_on_its_images(left_out):
    f1 = left_out[left_out["measure"] == "pixel_F1"].set_index("cell_line")
    assert f1.index.tolist() == ["A549", "HeLa"] and f1["model"].tolist() == ["net", "net"]
    assert f1["images"].tolist() == [12, 12] and f1["seeds"].tolist() == [2, 2]
    assert f1.loc["HeLa", "verdict"] == "worse" and f1.loc["HeLa", "difference"] < -0.05
    # Without A549 the network predicts A549 as with it; that it would miss HeLa is no matter here.
    assert f1.loc["A549", "difference"] == 0 and f1.loc["A549", "verdict"] == "equivalent"
    np.testing.assert_allclose(f1["difference"], f1["without"] - f1["with"])
    values = image_values(scores(LEFT_OUT))
    declared = {"a": "net_without-HeLa", "b": "net", "measure": "pixel_F1"}
    pair = declared | {"a_inference": "deployed", "b_inference": "deployed"}
    same = contrasts_by_cell_line(values, [pair]).set_index("cell_line").loc["HeLa"]
    assert (
        same[["difference", "low", "high", "p"]].tolist() == f1.loc["HeLa", ["difference", "low", "high", "p"]].tolist()
    )


def test_a_network_exact_by_construction_stays_so_without_a_cell_line():
    points = [{key: value.replace("net", "net-p4") for key, value in point.items()} for point in LEFT_OUT]
    table = left_out_table(image_values(scores(points)), points, ["net-p4"])
    zeros = table[table["measure"] == "pixel_zeros"]
    assert set(zeros["note"]) == {"a and b: zero by construction"} and set(zeros["verdict"]) == {"equivalent"}


def test_curves_are_drawn_with_a_marker_and_a_colour_per_model_and_a_band(curve):
    figure = learning_curve(curve)
    panels = figure.axes
    assert len(panels) == 3 and all(axes.get_xscale() == "log" for axes in panels)
    lines = panels[0].lines
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 2
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["4", "16", "60\n(all)"]
    assert len(panels[0].collections) == 2
    f1 = curve[(curve["measure"] == "object50_F1") & (curve["model"] == "net")]
    np.testing.assert_allclose(lines[0].get_xydata(), f1[["train_groups", "value"]])
    modes = pd.concat([curve, curve.assign(inference="tta4"), curve.assign(inference="exact")])
    assert len({str(line.get_linestyle()) for line in learning_curve(modes).axes[0].lines}) == 2


def test_dots_show_both_scores_and_the_verdict(left_out):
    figure = left_out_dots(left_out)
    assert [axes.get_title() for axes in figure.axes] == [
        "fluorescence:\nF1 by objects (IoU ≥ 0.5)", "fluorescence:\nF1 by pixels"
    ]  # fmt: skip
    f1 = left_out[left_out["measure"] == "pixel_F1"].set_index("cell_line").loc["HeLa"]
    shown = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert {f1["with"], f1["without"]} <= set(np.ravel(shown))
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert any(text.startswith("\N{MINUS SIGN}0.") and text.endswith("worse") for text in texts)


def marked(axes):
    return [line for line in axes.lines if line.get_color() == FAILED_COLOUR and len(line.get_xdata())]


def told(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_failed_trainings_are_marked_in_the_figures_of_subsets(of_curve, sizes):
    failed = {("net_4groups", "fluorescence", 1)}
    table = learning_curve_table(image_values(of_curve), CURVE, subset_sizes(sizes), failed)
    figure = learning_curve(table)
    for axes in figure.axes:
        assert [line.get_xdata().tolist() for line in marked(axes)] == [[4]]
    assert "failed training: no evidence" in told(figure)


@pytest.mark.parametrize("name, ends", [("net", {"with"}), ("net_without-HeLa", {"without"})])
def test_a_failed_training_with_or_without_a_cell_line_is_marked(name, ends):
    table = left_out_table(image_values(scores(LEFT_OUT)), LEFT_OUT, [], {(name, "fluorescence", 1)})
    figure = left_out_dots(table)
    row = table[(table["measure"] == "pixel_F1") & (table["cell_line"] == "HeLa")].iloc[0]
    places = [value for line in marked(figure.axes[1]) for value in line.get_xdata()]
    assert {row[end] for end in ends} <= set(places)
    assert len(places) == (2 if name == "net" else 1)  # net stands beside both cell lines
    assert "failed training: no evidence" in told(figure)
    assert any(text.get_text().endswith("failed training") for text in figure.axes[1].texts)


@pytest.mark.parametrize("unscored", [["HeLa"], ["A549", "HeLa"]])
def test_a_cell_line_without_a_scored_image_is_told(unscored, tmp_path):
    values = image_values(scores(LEFT_OUT))
    scored = values.assign(cell_line=values["cell_line"].where(~values["cell_line"].isin(unscored), "U2OS"))
    write_table(left_out_table(scored, LEFT_OUT, []), tmp_path / "left_out.tsv")
    table = read_table(tmp_path / "left_out.tsv", "study/leave_one_cell_line_out.tsv")
    f1 = table[table["measure"] == "pixel_F1"].set_index("cell_line")
    assert f1.index.tolist() == ["A549", "HeLa"]
    for line in unscored:
        assert f1.loc[line, ["images", "verdict"]].tolist() == [0, "not decided"]
        assert np.isnan(f1.loc[line, "difference"]) and "no image of the cell line" in f1.loc[line, "note"]
    texts = [text.get_text() for text in left_out_dots(table).axes[1].texts]
    assert texts.count("no scored image") == len(unscored) and len(texts) == 2
    draw_left_out(tmp_path / "left_out.tsv", models=["net"], figure=tmp_path / "left_out.png")
    assert (tmp_path / "left_out.png").stat().st_size > 10_000


def test_tables_and_figures_are_written_as_files(of_curve, sizes, tmp_path):
    of_curve.to_parquet(tmp_path / "curve.parquet")
    scores(LEFT_OUT).to_parquet(tmp_path / "left_out.parquet")
    sizes.to_csv(tmp_path / "subsets.tsv", sep="\t", index=False)
    tables = {name: tmp_path / f"{name}.tsv" for name in ("curve", "contrasts", "left_out")}
    aggregate_learning_curve(
        [tmp_path / "curve.parquet"], subsets=tmp_path / "subsets.tsv", points=CURVE, equivariant=["net-p4"],
        curve=tables["curve"], contrasts=tables["contrasts"],
    )  # fmt: skip
    aggregate_left_out([tmp_path / "left_out.parquet"], points=LEFT_OUT, equivariant=[], left_out=tables["left_out"])
    for draw, table in ((draw_learning_curve, "curve"), (draw_left_out, "left_out")):
        draw(tables[table], models=["net", "net-p4"], figure=tmp_path / f"{table}.png")
        assert (tmp_path / f"{table}.png").stat().st_size > 10_000
        assert (tmp_path / f"{table}.pdf").read_bytes().startswith(b"%PDF")
