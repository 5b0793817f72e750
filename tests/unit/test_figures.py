from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from equinuclei import figures
from equinuclei.statistics import f1_difference, f1_difference_table, f1_table
from unit.test_statistics import cost, score

MODELS = ["net", "net-p4"]
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
    blank = np.zeros_like(image)
    return [
        {"image": image, "truth": disc < 50, "probability": probability, "title": "HeLa"},
        {"image": blank, "truth": blank > 0, "probability": np.zeros(blank.shape), "title": "no nucleus"},
    ]


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
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*MODELS, "otsu"]
    assert not any(label.get_text() for axes in figure.axes[1:] for label in axes.get_yticklabels())
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
    assert figures._percent(share) == text


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
    figure = figures.contours(examples)
    panels = figure.axes[:6]
    assert len(figure.axes) == 7  # with the colour bar
    assert [len(axes.collections) for axes in panels] == [0, 2, 0, 0, 0, 0]
    assert panels[0].get_ylabel() == "HeLa"
    low, high = panels[0].images[0].get_clim()
    assert [low, high] == np.percentile(examples[0]["image"], (1, 99.8)).tolist()
    # The outline of the truth lies between its pixels and the background.
    truth = examples[0]["truth"]
    path = panels[1].collections[0].get_paths()[0]
    y, x = np.indices(truth.shape)
    inside = path.contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(truth.shape)
    assert (inside == truth).all()


def test_what_contours_refuses(examples):
    with pytest.raises(ValueError, match="not 0"):
        figures.contours([])
    with pytest.raises(ValueError, match="not 8"):
        figures.contours(examples * 4)
    with pytest.raises(ValueError, match=r"HeLa.*differ in shape"):
        figures.contours([examples[0] | {"truth": np.zeros((3, 3), dtype=bool)}])


def test_saved_files_have_the_same_bytes_each_time(tmp_path, scores, histories, examples):
    drawings = {
        "f1.0": lambda: bars(scores),
        "differences": lambda: boxes(scores),
        "training": lambda: figures.training_curves(histories),
        "contours": lambda: figures.contours(examples),
    }
    for name, draw in drawings.items():
        for folder in ("one", "two"):
            figures.save(draw(), tmp_path / folder / name)
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
    colours = figures.model_colours([*names[:3], "otsu", *names[3:]])
    assert len({colours[name] for name in names[:16]}) == 16
    assert figures.model_colours(names[:3]).items() <= colours.items()
    assert colours["otsu"] not in figures._PALETTE


def test_a_figure_shows_one_dataset(scores):
    two = pd.concat([scores, scores.assign(dataset="second")])
    with pytest.raises(ValueError, match="demo, second"):
        boxes(two)


def test_the_style_ends_with_its_block():
    with mpl.rc_context({"pdf.fonttype": 3}):
        with figures.style():
            assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["pdf.fonttype"] == 3
