import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.analysis import statistics
from equinuclei.analysis.statistics import (
    difference_reduction,
    f1_by_cell_line,
    f1_by_threshold,
    f1_difference,
    f1_difference_table,
    f1_table,
)
from equinuclei.images.metrics import THRESHOLDS, object_scores, score_image
from equinuclei.specs import INFERENCES
from support.scores import cost, score

NAN = float("nan")


@pytest.fixture
def scores():
    """Two seeds of `net` on two nuclei images and an empty one; one seed of `other` on one image; Otsu on all."""
    return pd.DataFrame(
        [
            score("otsu", 0, "a", (1, 1, 1)),
            score("otsu", 0, "b", (3, 1, 1), line="A549"),
            score("otsu", 0, "empty", (0, 0, 0)),
            score("net", 1, "a", (1, 0, 0)),
            score("net", 1, "b", (6, 2, 2), line="A549"),
            score("net", 1, "empty", (0, 0, 0)),
            score("net", 2, "a", (1, 0, 2)),
            score("net", 2, "b", (4, 4, 4), line="A549"),
            score("net", 2, "empty", (0, 0, 0)),
            score("other", 1, "b", (1, 1, 0), line="A549"),
            score("net", 1, "a", (0, 9, 9), rotation=90),
            score("net", 1, "a", (0, 9, 9), mirrored=True),
        ]
    )


@pytest.fixture
def models():
    return pd.DataFrame([cost("net", 1, 100.0), cost("net", 2, 300.0), cost("other", 1, 7.0)])


def test_f1_table(scores, models):
    table = f1_table(scores, models, ["otsu", "other", "net"])
    assert table.columns.tolist() == [
        *("dataset", "modality", "model", "inference", "images", "seeds", "failed", "failed_seeds", "failure"),
        *("parameters", "gflops", "train_seconds", "train_cpu_seconds"),
        *("pixel_F1", "pixel_F1_sd", "pixel_F1_pooled", "pixel_precision", "pixel_recall", "pixel_IoU"),
        *("object50_F1", "object50_F1_pooled", "object50_precision", "object50_recall", "object50_AP", "object75_F1"),
        *("otsu_pixel_F1", "otsu_pixel_F1_pooled", "otsu_object50_F1", "otsu_object50_F1_pooled"),
    ]
    assert table["model"].tolist() == ["other", "net", "otsu"]
    other, net, otsu = (row for _, row in table.iterrows())
    # Seed 1: images 1 and 3/4; seed 2: 1/2 and 1/2. The empty image has no F1.
    assert net["pixel_F1"] == net["object50_F1"] == net["object75_F1"] == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert net["pixel_F1_sd"] == pytest.approx(np.std([7 / 8, 1 / 2], ddof=1))
    assert net["pixel_F1_pooled"] == net["object50_F1_pooled"] == pytest.approx((14 / 18 + 10 / 20) / 2)
    assert net["pixel_precision"] == pytest.approx(((1 + 3 / 4) / 2 + (1 + 1 / 2) / 2) / 2)
    assert net["pixel_recall"] == pytest.approx(((1 + 3 / 4) / 2 + (1 / 3 + 1 / 2) / 2) / 2)
    assert net["pixel_IoU"] == net["object50_AP"] == pytest.approx(((1 + 6 / 10) / 2 + (1 / 3 + 4 / 12) / 2) / 2)
    assert [net["images"], net["seeds"], net["parameters"]] == [3, 2, 1_940_001]
    assert [net["train_seconds"], net["train_cpu_seconds"]] == [200, 400]
    # The floor is on the same images: `other` was scored on b alone.
    assert other["otsu_pixel_F1"] == other["otsu_object50_F1_pooled"] == pytest.approx(3 / 4)
    assert net["otsu_pixel_F1"] == otsu["pixel_F1"] == otsu["otsu_pixel_F1"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert net["otsu_pixel_F1_pooled"] == otsu["pixel_F1_pooled"] == pytest.approx(8 / 12)
    assert np.isnan(other["pixel_F1_sd"])
    assert pd.isna(otsu["parameters"])


def test_modalities_are_apart(scores, models):
    brightfield = pd.DataFrame([score("net", 1, "a", (0, 1, 1), modality="brightfield")])
    table = f1_table(pd.concat([scores, brightfield]), models).set_index(["modality", "model"])
    assert table.loc[("brightfield", "net"), "pixel_F1"] == 0
    assert np.isnan(table.loc[("brightfield", "net"), "otsu_pixel_F1"])
    assert table.loc[("fluorescent", "net"), "images"] == 3
    assert table.index[-1] == ("fluorescent", "otsu")


def test_datasets_are_apart(scores, models):
    second = pd.DataFrame([score("otsu", 0, "b", (1, 0, 0)), score("other", 1, "b", (1, 0, 0))]).assign(
        dataset="second"
    )
    table = f1_table(pd.concat([scores, second]), models).set_index(["dataset", "model"])
    assert table["otsu_pixel_F1"].to_dict() == pytest.approx(
        {("demo", "net"): 5 / 8, ("demo", "other"): 3 / 4, ("demo", "otsu"): 5 / 8}
        | {("second", "other"): 1, ("second", "otsu"): 1}
    )


def test_f1_by_cell_line(scores, models):
    table = f1_by_cell_line(scores, models, ["other", "net"])
    assert table[["cell_line", "model"]].to_numpy().tolist() == [
        ["A549", "other"],
        ["A549", "net"],
        ["A549", "otsu"],
        ["HeLa", "net"],
        ["HeLa", "otsu"],
    ]
    net = table.set_index(["cell_line", "model"]).loc[("A549", "net")]
    assert net["pixel_F1"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert net["otsu_pixel_F1"] == pytest.approx(3 / 4)
    assert [net["images"], net["parameters"], net["gflops"], net["train_seconds"]] == [1, 1_940_001, 24.1, 200]


def test_f1_by_threshold():
    """Of seed 1 two images, of which one has an object too many; of seed 2 one image is empty on both sides."""
    square = np.zeros((12, 12), dtype=bool)
    square[:5, :6] = True
    two = square | np.rot90(square, 2)
    less = two & (np.arange(12) != 0)  # the first square loses 5 of 30 pixels

    def rows(seed, image, truth, prediction):
        (row,) = score_image(truth, (truth * (1 + (np.arange(12) > 5))).astype(int), {(0, False): prediction})
        names = {"dataset": "demo", "modality": "fluorescent", "model": "net", "inference": "deployed"}
        return {**names, "seed": seed, "image_id": image, **row}

    blank = np.zeros_like(square)
    scores = [rows(1, "a", two, less), rows(1, "b", square, two), rows(2, "a", two, two), rows(2, "b", blank, blank)]
    table = f1_by_threshold(pd.DataFrame(scores))
    assert table.columns.tolist() == [
        *("dataset", "modality", "model", "inference", "threshold", "images", "seeds", "F1", "F1_pooled"),
        *("precision", "recall", "AP", "AP_pooled", "PQ", "PQ_pooled"),
    ]
    assert (
        table["threshold"].tolist() == list(THRESHOLDS) and table["images"].eq(2).all() and table["seeds"].eq(2).all()
    )
    at = table.set_index("threshold")
    shared = 25 / 30
    # Seed 1: two of two and one of two predicted; seed 2: everything, in one image.
    assert at.loc[0.8, "F1"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert at.loc[0.8, "F1_pooled"] == pytest.approx((6 / 7 + 1) / 2)
    assert at.loc[0.8, "AP_pooled"] == pytest.approx((3 / 4 + 1) / 2)
    assert at.loc[0.8, "PQ"] == pytest.approx((((1 + shared) / 2 + 1 / 1.5) / 2 + 1) / 2)
    assert at.loc[0.8, "PQ_pooled"] == pytest.approx(((2 + shared) / 3.5 + 1) / 2)
    assert at.loc[0.85, "F1"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    of_one = object_scores(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 2]])).set_index("threshold")
    assert of_one.loc[0.5, "PQ"] == 1.5 / 2


def test_f1_difference_has_a_sign_and_drops_what_is_undefined():
    scores = pd.DataFrame(
        [
            score("net", 1, "a", (1, 0, 0)),
            score("net", 1, "a", (1, 1, 1), rotation=90),
            score("net", 1, "a", (2, 0, 0), rotation=180),
            score("net", 1, "a", (0, 1, 1), rotation=270, mirrored=True),
            score("net", 1, "b", (0, 0, 0)),
            score("net", 1, "b", (0, 0, 0), rotation=90),
            score("net", 1, "b", (0, 1, 0), rotation=180),
        ]
    )
    table = f1_difference(scores)
    assert table.columns.tolist() == [
        *("dataset", "modality", "model", "inference", "seed", "image_id", "cell_line", "group"),
        *("rotation", "mirrored", "level", "f1_difference", "left_out"),
    ]
    for level in ("pixel", "object50"):
        part = table[table["level"] == level]
        assert part[["image_id", "rotation", "mirrored", "f1_difference"]].to_numpy().tolist() == [
            ["a", 90, False, 0.5],
            ["a", 180, False, 0.0],
            ["a", 270, True, 1.0],
        ]


COUNTS = st.tuples(*[st.integers(0, 50_000_000)] * 3)


@settings(deadline=None)
@given(COUNTS, COUNTS, st.integers(1, 9))
def test_a_difference_is_zero_exactly_when_the_fractions_are_equal(one, other, factor):
    for counts in (other, tuple(factor * count for count in one)):
        rows = [score("net", 1, "a", one), score("net", 1, "a", counts, rotation=90)]
        differences = f1_difference(pd.DataFrame(rows))["f1_difference"]
        if not sum(one) or not sum(counts):
            assert differences.empty
            continue
        (a, b), (c, d) = ((2 * TP, 2 * TP + FP + FN) for TP, FP, FN in (one, counts))
        assert (differences == 0).all() == (a * d == c * b)
        assert (np.sign(differences) == np.sign(a * d - c * b)).all()
        assert differences.tolist() == pytest.approx([a / b - c / d] * 2, abs=1e-12)


def test_a_zero_is_not_hidden_by_neighbouring_fractions():
    # The two F1 differ by 3e-17: as floats they are the same number, as fractions they are not.
    one, other = (2**27, 1, 0), (2**27 - 1, 1, 0)
    rows = [score("net", 1, "a", one), score("net", 1, "a", other, rotation=90)]
    assert rows[0]["pixel_F1"] == rows[1]["pixel_F1"]
    assert (f1_difference(pd.DataFrame(rows))["f1_difference"] > 0).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([score("net", 1, "a", (1, 0, 0), rotation=90)], "none without rotation"),
        ([score("net", 1, "a", (1, 0, 0), rotation=angle) for angle in (0, 0, 90)], "several scores"),
    ],
)
def test_an_image_needs_one_score_without_rotation(rows, message):
    with pytest.raises(ValueError, match=message):
        f1_difference(pd.DataFrame(rows))


def test_f1_difference_table(models):
    rows = [
        score("exact", 1, "a", (1, 0, 0)),
        score("exact", 1, "a", (1, 0, 0), rotation=90),
        score("net", 1, "a", (1, 0, 0)),
        score("net", 1, "a", (1, 1, 1), rotation=90, agreement=0.2),
        score("net", 1, "a", (1, 0, 0), rotation=180, agreement=0.6),
        score("net", 1, "blank", (0, 0, 5)),
        score("net", 1, "blank", (1, 0, 4), rotation=90, agreement=0.0),
        score("net", 1, "blank", (0, 0, 5), rotation=180, agreement=NAN),
        score("net", 1, "empty", (0, 0, 0)),
        score("net", 1, "empty", (0, 0, 0), rotation=90, agreement=NAN),
    ]
    table = f1_difference_table(pd.DataFrame(rows), models, ["net", "exact"])
    assert table.columns.tolist() == [
        *("dataset", "modality", "model", "inference", "level", "images", "comparisons", "left_out"),
        *("parameters", "gflops", "train_seconds", "train_cpu_seconds", "mean", "mean_absolute", "max_absolute"),
        *("exact_zeros", "agreement", "identical_masks", "different_masks", "different_masks_high"),
    ]
    assert table[["level", "model"]].to_numpy().tolist() == [
        ["pixel", "net"],
        ["pixel", "exact"],
        ["object50", "net"],
        ["object50", "exact"],
    ]
    # Differences 1/2, 0, -1/3; agreements 0.2, 0.6, 0. Two empty masks of an image with nuclei are left out.
    for _, net in table[table["model"] == "net"].iterrows():
        assert [net["images"], net["comparisons"], net["left_out"]] == [2, 3, 1]
        assert [net["exact_zeros"], net["identical_masks"], net["different_masks"]] == [1 / 3, 0, 3]
        assert net["mean"] == pytest.approx((1 / 2 - 1 / 3) / 3)
        assert net["mean_absolute"] == pytest.approx((1 / 2 + 1 / 3) / 3)
        assert net["max_absolute"] == 0.5
        assert [net["parameters"], net["gflops"], net["train_seconds"]] == [1_940_001, 24.1, 200]
        assert net["agreement"] == pytest.approx(0.8 / 3)
    exact = table[table["model"] == "exact"]
    assert (exact[["exact_zeros", "identical_masks", "agreement"]] == 1).all(axis=None)
    assert (exact[["mean", "mean_absolute", "max_absolute"]] == 0).all(axis=None)


def test_mirrored_images_have_columns_of_their_own(models):
    rows = [
        score("net", 1, "a", (1, 0, 0)),
        score("net", 1, "a", (1, 0, 0), rotation=90),
        score("net", 1, "a", (1, 1, 1), mirrored=True, agreement=0.5),
        score("net", 1, "a", (1, 0, 0), rotation=90, mirrored=True),
        score("plain", 1, "a", (1, 0, 0)),
        score("plain", 1, "a", (1, 0, 0), rotation=90),
    ]
    table = f1_difference_table(pd.DataFrame(rows), models)
    net, plain = (table[table["model"] == name] for name in ("net", "plain"))
    assert (net["mirrored_mean_absolute"] == 0.25).all()
    assert (net["mirrored_exact_zeros"] == 0.5).all()
    assert (net[["exact_zeros", "agreement", "comparisons"]] == 1).all(axis=None)
    assert plain[["mirrored_mean_absolute", "mirrored_exact_zeros"]].isna().all(axis=None)


def test_without_rotations_the_tables_are_empty(scores, models):
    plain = scores[(scores["rotation"] == 0) & ~scores["mirrored"]]
    assert f1_difference(plain).empty
    table = f1_difference_table(plain, models)
    assert table.empty
    assert "exact_zeros" in table


def test_every_inference_mode_is_a_row_with_its_own_cost(scores, models):
    tta = scores[scores["model"] != "otsu"].assign(inference="tta4")
    exact = scores[scores["model"] == "net"].assign(inference="exact", pixel_F1=0.25)
    table = f1_table(pd.concat([tta, exact, scores]), models, ["other", "net"])
    assert table[["model", "inference"]].to_numpy().tolist() == [
        ["other", "deployed"],
        ["other", "tta4"],
        ["net", "deployed"],
        ["net", "exact"],
        ["net", "tta4"],
        ["otsu", "deployed"],
    ]
    assert table["gflops"].tolist()[:5] == [24.1, 4 * 24.1, 24.1, 24.1, 4 * 24.1] and np.isnan(table["gflops"].iloc[5])
    assert table.loc[table["model"] == "net", "parameters"].eq(1_940_001).all()
    assert table.set_index(["model", "inference"]).loc[("net", "exact"), "pixel_F1"] == 0.25
    # Otsu was scored in one mode, and is the floor of them all.
    floors = [column for column in table if column.startswith("otsu_")]
    assert table.loc[table["model"] == "net", floors].nunique().eq(1).all()
    assert table.loc[table["model"] != "otsu", floors].notna().all(axis=None)


MODES = st.lists(st.sampled_from(list(INFERENCES)), min_size=1, unique=True)


@settings(deadline=None, max_examples=10)
@given(MODES, st.integers(0, 2**32 - 1))
def test_a_mode_has_the_table_that_it_has_alone(modes, seed):
    random = np.random.default_rng(seed)

    def of_mode(model, mode, seeds):
        return pd.DataFrame(
            score(model, run, image, random.integers(0, 4, 3).tolist(), rotation, inference=mode, line=line)
            for run in seeds
            for image, line in [("a", "HeLa"), ("b", "A549"), ("c", "HeLa")]
            for rotation in (0, 90, 180, 270)
        )

    otsu = of_mode("otsu", "deployed", [0])
    by_mode = {mode: pd.concat(of_mode(name, mode, [1, 2]) for name in ("net", "other")) for mode in modes}
    together = pd.concat([*by_mode.values(), otsu])
    models = pd.DataFrame([cost(name, run, 10.0 * run) for name in ("net", "other") for run in (1, 2)])

    def tables(scores):
        named = (f1_table, f1_by_cell_line, f1_difference_table)
        return [make(scores, models, ["other", "net"]) for make in named] + [f1_difference(scores)]

    for mode, scores in by_mode.items():
        # Alone, and named as the network is without any mode: only its cost tells them apart.
        alone = tables(pd.concat([scores.assign(inference="deployed"), otsu]))
        for whole, one in zip(tables(together), alone, strict=True):
            part = whole[(whole["inference"] == mode) & (whole["model"] != "otsu")].reset_index(drop=True)
            one = one[one["model"] != "otsu"].assign(inference=mode).reset_index(drop=True)
            if "gflops" in one:
                one["gflops"] *= INFERENCES[mode]
            pd.testing.assert_frame_equal(part, one)


def test_modes_are_compared_with_themselves():
    rows = [
        score("net", 1, "a", (1, 0, 0)),
        score("net", 1, "a", (1, 1, 1), rotation=90),
        score("net", 1, "a", (1, 1, 1), inference="exact"),
        score("net", 1, "a", (1, 1, 1), rotation=90, inference="exact"),
    ]
    table = f1_difference(pd.DataFrame(rows))
    assert table.groupby("inference")["f1_difference"].agg(list).to_dict() == {
        "deployed": [0.5] * 2,
        "exact": [0.0] * 2,
    }
    with pytest.raises(ValueError, match=r"net \(exact, seed 1\)"):
        f1_difference(pd.DataFrame([rows[0], rows[3]]))


def test_format_table():
    table = pd.DataFrame(
        {
            "model": ["unet", "simplified-p4", "otsu"],
            "parameters": pd.array([1776321, 485, None], dtype="Int64"),
            "images": [504, 504, 4],
            "pixel_F1": [0.81234, 1.0, NAN],
            "difference": [-0.03, 0.0, 1e-6],
            "seconds": [12.345, 1.0, 999.0],
        }
    )
    assert statistics.format_table(table, [name for name in table if name != "images"]) == (
        "model          parameters  pixel_F1  difference  seconds\n"
        "-------------  ----------  --------  ----------  -------\n"
        "unet            1,776,321    0.8123     -0.0300    12.35\n"
        "simplified-p4         485         1           0        1\n"
        "otsu                    -         -     1.0e-06   999.00\n"
    )


def test_the_reduction_is_against_the_plain_twin_as_deployed():
    rows = [("net", "deployed", 0.02), ("net", "tta4", 0.0), ("aug", "deployed", 0.025), ("p4", "deployed", 0.005),
            ("still", "deployed", 0.0), ("still-p4", "deployed", 0.0), ("alone", "deployed", 0.1)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["model", "inference", "mean_absolute"])
    table = table.assign(dataset="demo", modality="fluorescent", level="pixel")
    twins = {"net": "net", "aug": "net", "p4": "net", "still": "still", "still-p4": "still"}
    found = difference_reduction(table, twins, [name for name, *_ in rows])
    assert found[["model", "inference", "twin"]].to_numpy().tolist() == [
        ["net", "tta4", "net"], ["aug", "deployed", "net"], ["p4", "deployed", "net"],
        ["still-p4", "deployed", "still"],
    ]  # fmt: skip
    assert found["reduction"].tolist()[:3] == pytest.approx([1, -0.25, 0.75]) and np.isnan(found["reduction"].iloc[3])


def test_no_scores_make_a_table_without_rows():
    empty = pd.DataFrame(columns=["dataset"])
    assert f1_difference_table(empty, pd.DataFrame()).columns[:5].tolist() == [
        "dataset", "modality", "model", "inference", "level",
    ]  # fmt: skip
