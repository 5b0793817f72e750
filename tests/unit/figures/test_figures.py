from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from equinuclei.analysis.contrasts import contrast_table, image_values
from equinuclei.analysis.failures import failed_seeds
from equinuclei.analysis.statistics import (
    difference_reduction,
    f1_by_cell_line,
    f1_by_threshold,
    f1_difference,
    f1_difference_table,
    f1_table,
)
from equinuclei.figures import (
    comparisons as comparison_figures,
)
from equinuclei.figures import (
    images as image_figures,
)
from equinuclei.figures import (
    scores as figures,
)
from equinuclei.figures import (
    style as figure_style,
)
from equinuclei.figures.style import FAILED_COLOUR
from support.scores import cost, score

MODELS = ["net", "net-p4"]
SEED = "fluorescent, as deployed, seed 3"
# "net-p4" has a second inference mode.
NETS = [("net", "deployed"), ("net-p4", "deployed"), ("net-p4", "exact")]


@pytest.fixture(scope="module")
def scores():
    random = np.random.default_rng(0)
    rows = []
    for modality in ("fluorescent", "brightfield"):
        runs = [(*net, seed) for net in NETS for seed in (1, 2)] + [("otsu", "deployed", 0)]
        for model, inference, seed in runs:
            for image in "abc":
                counts = random.integers(1, 100, 3).tolist()
                for rotation in (0, 90, 180, 270):
                    rows.append(score(model, seed, image, counts, rotation, modality=modality, inference=inference))
                    if model == "net":
                        counts = random.integers(1, 100, 3).tolist()
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def histories():
    rows = []
    for modality in ("fluorescent", "brightfield"):
        for name in MODELS:
            for seed in (1, 2):
                for epoch in range(1, 5):
                    values = {"train_loss": 1 / epoch, "train_F1": 1 - 1 / epoch, "val_loss": 2 / epoch, "val_F1": 0.5}
                    rows.append({"model": name, "modality": modality, "seed": seed, "epoch": epoch, **values})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def examples():
    y, x = np.mgrid[:24, :32]
    disc = (y - 12) ** 2 + (x - 15) ** 2
    probability = 1 / (1 + np.exp((disc - 60) / 10))
    image = (1000 * probability).astype(np.uint16)
    truth = disc < 50
    first = {"image": image, "truth": truth, "classes": (2 * truth).astype(np.uint8), "title": "HeLa"}
    first |= {"instances": truth.astype(np.uint16), "probability": probability, "probability_sum": 4 * probability}
    blank = {name: array * np.zeros_like(array) for name, array in first.items() if name != "title"}
    return [first, {**blank, "truth": blank["truth"] > 0, "title": "no nucleus"}]


def costs(scores):
    return pd.DataFrame(
        [
            cost(model, seed, 1.0, modality)
            for model in MODELS
            for seed in (1, 2)
            for modality in set(scores["modality"])
        ]
    )


def bars(scores):
    return figures.f1_bars(f1_table(scores, costs(scores), MODELS), scores)


def boxes(scores):
    return figures.f1_difference_boxes(f1_difference(scores), f1_difference_table(scores, costs(scores), MODELS))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def lines_across(axes, colour="black"):
    return [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--" and line.get_color() == colour]


def test_f1_bars_show_the_table(scores):
    figure = bars(scores)
    assert len(figure.axes) == 4
    table = f1_table(scores, costs(scores), MODELS)
    table = table[table["inference"] == "deployed"].set_index(["modality", "model"])
    for axes in figure.axes:
        modality, level = axes.get_title().split(": ")
        column = "pixel_F1" if "pixels" in level else "object50_F1"
        expected = [table.loc[(modality, name), column] for name in MODELS]
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(expected)
        assert lines_across(axes) == pytest.approx([table.loc[(modality, "otsu"), column]])
        assert all(f"{value:.3f} ± " in text for value, text in zip(expected, texts(axes), strict=True))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == MODELS


def circles(axes):
    """Places of the open red marks of failed trainings."""
    marks = [line for line in axes.lines if line.get_marker() == "o" and line.get_color() == FAILED_COLOUR]
    return [(float(x), float(y)) for line in marks for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def failures_of(model, seed, modality):
    failure = {"dataset": "demo", "modality": modality, "model": model, "seed": seed, "reason": "finds nothing"}
    return pd.DataFrame([failure])


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_a_failed_seed_is_marked_in_every_figure_of_scores(scores, seeds):
    scores = scores[scores["seed"].isin([0, *seeds])]
    model, modality = MODELS[1], scores["modality"].iloc[0]
    failures = failures_of(model, 1, modality)
    f1 = f1_table(scores, costs(scores), MODELS, failures)
    difference = f1_difference_table(scores, costs(scores), MODELS, failures)
    failed, reduction = failed_seeds(f1), difference_reduction(difference, {model: MODELS[0]}, MODELS)
    drawn = {
        "bars": figures.f1_bars(f1, scores),
        "boxes": figures.f1_difference_boxes(f1_difference(scores, failures), difference, failed=failed),
        "reduction": comparison_figures.difference_reduction_bars(reduction, failed),
        "cost": comparison_figures.cost_against_score(f1),
    }
    for name, figure in drawn.items():
        marked = [bool(circles(axes)) for axes in figure.axes]
        assert sum(marked) == 2, name  # the panels of that modality, by pixels and by objects
        told = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert "failed training: no evidence" in told, name
    if len(seeds) == 1:
        box = next(axes for axes in drawn["boxes"].axes if circles(axes))
        assert "-" in texts(box)[1:]


def test_f1_bars_of_one_seed_have_no_error_bar(scores):
    figure = bars(scores[scores["seed"] < 2])
    assert all("±" not in text for axes in figure.axes for text in texts(axes))
    assert len(figure.legends[0].get_texts()) == 1


def test_difference_boxes_are_symmetric_and_tell_the_exact_zeros(scores):
    figure = boxes(scores)
    assert len(figure.axes) == 4
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low == -high
        assert texts(axes)[1:] == ["0 %", "100 %", "100 %", "100 %"]
        assert [len(dots.get_offsets()) for dots in axes.collections] == [18, 18, 18, 9]
        assert np.abs(axes.collections[0].get_offsets()[:, 0]).max() <= high
    for left, right in (figure.axes[:2], figure.axes[2:]):
        assert [label.get_text() for label in left.get_yticklabels()] == [*MODELS, "otsu"]
        assert not any(label.get_text() for label in right.get_yticklabels())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["deployed", "exact"]


def test_modes_of_a_model_are_told_apart_by_colour_in_its_place(scores):
    axes = boxes(scores).axes[0]
    net, deployed, exact, otsu = axes.collections
    assert len({dots.get_facecolor().tobytes() for dots in (net, deployed, exact, otsu)}) == 3
    assert net.get_facecolor().tobytes() == deployed.get_facecolor().tobytes()
    middle = [np.round(dots.get_offsets()[:, 1].mean()) for dots in (net, deployed, exact, otsu)]
    assert middle == sorted(middle)
    # The name of a model stands between its two boxes.
    assert axes.get_yticks().tolist() == pytest.approx([0, 1.9, 3.8])


@pytest.mark.parametrize("models", [3, 18])
def test_many_models_have_a_row_each_that_its_text_fits_into(scores, models):
    one = scores[scores["model"] == "net-p4"]
    figure = boxes(pd.concat([one.assign(model=f"net-{number}") for number in range(models)]))
    figure.canvas.draw()
    boxes_of_text = [text.get_window_extent() for text in figure.axes[0].texts[1:]]
    assert len(boxes_of_text) == 2 * models
    assert all(upper.y0 >= lower.y1 - 2 for upper, lower in pairwise(boxes_of_text))


def test_differences_that_are_all_zero_can_be_drawn(scores):
    figure = boxes(scores[scores["model"] != "net"])
    assert figure.axes[0].get_xlim() == (-0.01, 0.01)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1e-6, "0.1 %"), (0.4025, "40.2 %"), (0.9999999, "99.9 %"), (1.0, "100 %")]
)
def test_only_all_zeros_are_100_percent(share, text):
    assert figure_style.percent(share) == text


def test_training_curves(histories):
    figure = figures.training_curves(histories)
    assert [axes.get_title() for axes in figure.axes] == [
        *("fluorescent: loss", "fluorescent: F1 by pixels", "brightfield: loss", "brightfield: F1 by pixels")
    ]
    assert [len(axes.lines) for axes in figure.axes] == [4] * 4
    assert figure.axes[0].lines[0].get_ydata().tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert len(figure.legends[0].get_texts()) == 3


def test_training_curves_without_validation(histories):
    figure = figures.training_curves(histories[histories["seed"] == 1].drop(columns=["val_loss", "val_F1"]))
    assert [len(axes.lines) for axes in figure.axes] == [2] * 4
    assert len(figure.legends[0].get_texts()) == 1


def test_many_models_are_spread_over_rows(histories):
    one = histories[histories["model"] == "net"]
    many = pd.concat([one.assign(model=f"net-{number}") for number in range(15)])
    figure = figures.training_curves(many)
    assert len(figure.axes) == 2 * 2 * 3
    assert [len(axes.lines) for axes in figure.axes] == [10] * 12


def test_contours(examples):
    figure = image_figures.contours(examples, SEED)
    panels = figure.axes[:8]
    assert len(figure.axes) == 9  # with the colour bar
    assert figure.get_suptitle().endswith(f"\n{SEED}")
    assert [len(axes.collections) for axes in panels] == [0, 0, 2, 0, 0, 0, 0, 0]
    assert panels[0].get_ylabel() == "HeLa"
    low, high = panels[0].images[0].get_clim()
    assert [low, high] == np.percentile(examples[0]["image"], (1, 99.8)).tolist()
    # The outline of the truth lies between its pixels and the background.
    truth = examples[0]["truth"]
    path = panels[2].collections[0].get_paths()[0]
    y, x = np.indices(truth.shape)
    inside = path.contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(truth.shape)
    assert (inside == truth).all()


def test_what_contours_refuses(examples):
    with pytest.raises(ValueError, match="not 0"):
        image_figures.contours([], SEED)
    with pytest.raises(ValueError, match="not 8"):
        image_figures.contours(examples * 4, SEED)
    with pytest.raises(ValueError, match=r"HeLa.*differ in shape"):
        image_figures.contours([examples[0] | {"truth": np.zeros((3, 3), dtype=bool)}], SEED)


def seen_twice(examples):
    return [
        {**example, "images": dict.fromkeys(("fluorescent", "brightfield"), example["image"])} for example in examples
    ]


def test_masks_stand_beside_the_images_of_all_modalities(examples):
    figure = image_figures.masks(seen_twice(examples))
    assert [axes.get_title() for axes in figure.axes[:4]] == ["fluorescent", "brightfield", "classes", "nuclei"]
    assert (figure.axes[2].images[0].get_array() == examples[0]["classes"]).all()
    assert (figure.axes[3].images[0].get_array() > 0).sum() == examples[0]["truth"].sum()


def test_nuclei_that_touch_are_parted_by_a_line(examples):
    labels = np.zeros((6, 8), int)
    labels[:, 2:4], labels[:, 4:6] = 1, 7  # of one colour
    example = {"images": {"m": labels}, "classes": labels, "instances": labels, "title": "x"}
    colours, line = image_figures.masks([example]).axes[-1].images
    assert len(np.unique(colours.get_array())) == 2
    assert np.argwhere(~line.get_array().mask).tolist() == [[row, 4] for row in range(6)]


def test_every_model_has_its_sum_over_rotations(examples):
    found = {name: examples[0] for name in ("a", "b", "a-very-long-name-of-a-model-without-end")}
    figure = image_figures.rotations(examples[0], found, SEED)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles[:4] == ["image: HeLa", "truth", "a\nsingle", "a\nsum of 4 rotations"]
    assert all(len(line) <= 22 for title in titles for line in title.splitlines())
    assert figure.axes[3].images[0].get_clim() == (0, 4)
    with pytest.raises(ValueError, match="no prediction"):
        image_figures.rotations(examples[0], {}, SEED)


DECLARED = [
    {"a": "net-p4", "a_inference": "deployed", "b": "net", "b_inference": "deployed", "measure": "object50_F1"},
    {"a": "net-p4", "a_inference": "exact", "b": "net", "b_inference": "deployed", "measure": "pixel_difference"},
]


def compared(scores, declared=tuple(DECLARED)):
    whole = scores.assign(object50_PQ=scores["object50_AP"])
    nets = whole[whole["model"] != "otsu"]
    return contrast_table(image_values(nets), declared, ["net-p4"], MODELS)


def test_declared_contrasts_are_drawn_with_their_intervals(scores):
    table = compared(scores)
    figure = comparison_figures.contrast_intervals(table)
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["brightfield"] * 2 + [
        "fluorescent"
    ] * 2
    first = table.iloc[0]
    (interval, point) = figure.axes[0].lines[1:]
    assert interval.get_xdata().tolist() == [first["low"], first["high"]]
    assert point.get_xdata() == [first["difference"]]
    assert "net-p4\nagainst net" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert first["verdict"] in texts(figure.axes[0])[0] and "zero on every image" in texts(figure.axes[1])[0]


def test_a_study_without_declared_contrasts_says_so(scores):
    figure = comparison_figures.contrast_intervals(compared(scores, []))
    assert "No contrast" in figure.texts[0].get_text()


def test_thresholds_cell_lines_and_costs(scores):
    quality = {
        f"object{p}_{key}": scores["object50_AP"] for p in (50, 75) for key in ("AP", "PQ", "precision", "recall")
    }
    table = f1_by_threshold(scores.assign(**quality), MODELS)
    figure = comparison_figures.f1_by_threshold_lines(table)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    net = table[(table["modality"] == "brightfield") & (table["model"] == "net")]
    assert figure.axes[0].lines[0].get_ydata().tolist() == net["F1"].tolist()
    by_line = f1_by_cell_line(scores, costs(scores), MODELS)
    figure = comparison_figures.f1_by_cell_line_map(by_line)
    shown = [float(text) for text in texts(figure.axes[0])]
    expected = by_line[(by_line["modality"] == "brightfield") & (by_line["inference"] == "deployed")]
    assert shown == pytest.approx(expected["pixel_F1"].tolist(), abs=0.0051)
    figure = comparison_figures.cost_against_score(f1_table(scores, costs(scores), MODELS))
    points = {tuple(line.get_xdata()) for axes in figure.axes for line in axes.lines if line.get_marker() != "None"}
    assert points >= {(24.1,)} and figure.axes[0].get_xscale() == "log"
    # The axis is told to be logarithmic, and every panel shows the scale that its own points have.
    assert all("logarithmic" in axes.get_xlabel() for axes in figure.axes[-2:])
    figure.canvas.draw()
    for axes in figure.axes:
        assert any(label.get_visible() and label.get_text() for label in axes.get_yticklabels())


def test_the_reduction_names_the_twin_and_cuts_what_is_worse(scores):
    table = difference_reduction(
        f1_difference_table(scores, costs(scores), MODELS), {"net-p4": "net", "net": "net"}, MODELS
    )
    figure = comparison_figures.difference_reduction_bars(table)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["net-p4 (net)"]
    assert texts(figure.axes[0]) == ["100 %"] * 2
    figure = comparison_figures.difference_reduction_bars(table.assign(reduction=-3.0))
    assert texts(figure.axes[0]) == ["-300 %"] * 2
    assert min(bar.get_width() for bar in figure.axes[0].patches) == -100
    assert "no" in comparison_figures.difference_reduction_bars(table.head(0)).texts[0].get_text().lower()


@pytest.mark.parametrize("length", [5, 30, 60])
def test_legends_of_long_names_stay_within_the_figure(scores, length):
    table = f1_table(scores, costs(scores), MODELS)
    many = pd.concat([table.assign(model=table["model"] + f"-{number}" + "x" * length) for number in range(6)])
    figure = comparison_figures.cost_against_score(many)
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_letters_are_at_least_8_points_and_no_figure_is_wider_than_a_page(scores, histories, examples):
    table = compared(scores)
    drawn = [bars(scores), boxes(scores), figures.training_curves(histories), image_figures.contours(examples, SEED)]
    drawn += [image_figures.masks(seen_twice(examples)), comparison_figures.contrast_intervals(table)]
    by_line = f1_by_cell_line(scores, costs(scores), MODELS)
    lines = pd.concat([by_line.assign(cell_line=f"line {number}") for number in range(20)])
    drawn += [comparison_figures.f1_by_cell_line_map(table) for table in (by_line, lines)]
    for figure in drawn:
        assert figure.get_figwidth() <= figure_style.WIDTH
        written = [text for text in figure.findobj(mpl.text.Text) if text.get_text().strip()]
        assert min(text.get_fontsize() for text in written) >= 8


def test_saved_files_have_the_same_bytes_each_time(tmp_path, scores, histories, examples):
    drawings = {
        "f1.0": lambda: bars(scores),
        "differences": lambda: boxes(scores),
        "training": lambda: figures.training_curves(histories),
        "contours": lambda: image_figures.contours(examples, SEED),
        "masks": lambda: image_figures.masks(seen_twice(examples)),
        "rotations": lambda: image_figures.rotations(examples[0], {"net": examples[0]}, SEED),
        "contrasts": lambda: comparison_figures.contrast_intervals(compared(scores)),
        "cost": lambda: comparison_figures.cost_against_score(f1_table(scores, costs(scores), MODELS)),
    }
    for name, draw in drawings.items():
        for folder in ("one", "two"):
            figure_style.save(draw(), tmp_path / folder / name)
    names = sorted(f"{name}.{suffix}" for name in drawings for suffix in ("pdf", "png"))
    for folder in ("one", "two"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert content.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
        # Two runs within a second would agree on a date, too.
        assert b"CreationDate" not in content
        assert b"Software" not in content


def test_a_model_keeps_its_colour():
    names = [f"net-{number}" for number in range(20)]
    colours = figure_style.model_colours([*names[:3], "otsu", *names[3:]])
    assert len({colours[name] for name in names[:16]}) == 16
    assert figure_style.model_colours(names[:3]).items() <= colours.items()
    assert colours["otsu"] not in figure_style.PALETTE


def test_a_figure_shows_one_dataset(scores):
    two = pd.concat([scores, scores.assign(dataset="second")])
    with pytest.raises(ValueError, match="demo, second"):
        boxes(two)


def test_the_style_ends_with_its_block():
    with mpl.rc_context({"pdf.fonttype": 3}):
        with figure_style.style():
            assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["pdf.fonttype"] == 3
