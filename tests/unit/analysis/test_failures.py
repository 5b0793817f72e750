"""Trainings that failed: each kind is found, and no sound training is."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.analysis.failures import (
    FAR,
    failed_seeds,
    failure_sentences,
    find_failures,
    says_nothing,
    with_failures,
)
from equinuclei.analysis.statistics import f1_difference, f1_difference_table, f1_table
from equinuclei.images.pixel_metrics import FEW
from support.scores import cost, score

TWINS = {"p4": "plain", "plain": "plain"}
NUCLEI, BACKGROUND = 1000, 9000


def image(model, seed, number, found, wrong, rotation=0, nuclei=NUCLEI, agreement=1.0, **more):
    """A row of scores: `found` pixels of the nuclei, and `wrong` ones of the background; everywhere 8 nuclei."""
    row = score(model, seed, f"i{number}", (found, wrong, nuclei - found), rotation, agreement=agreement, **more)
    objects = 8 if nuclei else 0
    row |= {"pixel_TN": BACKGROUND - wrong, "object50_TP": objects * (found > 0)}
    return row | {"object50_FP": int(found == 0 < wrong), "object50_FN": objects * (found == 0)}


def training(model, seed, found, wrong, **more):
    return [
        image(model, seed, number, found, wrong, rotation, **more) for number in range(4) for rotation in (0, 90, 180)
    ]


def study(**p4):
    """plain and p4, two seeds each, and Otsu's threshold; p4's seed 1 finds what `p4` says."""
    rows = training("otsu", 0, 800, 300)
    for seed in (0, 1):
        rows += training("plain", seed, 900, 50)
        rows += training("p4", seed, **({"found": 920, "wrong": 40} if seed == 0 else p4))
    return pd.DataFrame(rows)


SOUND = {"found": 920, "wrong": 40}


@pytest.mark.parametrize(
    "p4, reason",
    [
        ({"found": 0, "wrong": 0, "agreement": np.nan}, "finds nothing"),
        ({"found": 5, "wrong": 1}, "finds almost nothing"),
        ({"found": NUCLEI, "wrong": BACKGROUND}, "takes everything for nucleus"),
        ({"found": NUCLEI, "wrong": BACKGROUND - 8}, "takes almost everything for nucleus"),
        ({"found": 100, "wrong": 0}, "finds little: its F1 is 0.182, Otsu's threshold has 0.762, plain has 0.923"),
        ({"found": 0, "wrong": 8000}, "finds little: its F1 is 0.000, Otsu's threshold has 0.762, plain has 0.923"),
    ],
)
def test_each_kind_of_failure_is_found_and_told(p4, reason):
    scores = study(**p4)
    failures = find_failures(scores, TWINS)
    assert failures.to_dict("records") == [
        {"dataset": "demo", "modality": "fluorescent", "model": "p4", "seed": 1, "reason": reason}
    ]
    costs = pd.DataFrame([cost(model, seed, 1.0) for model in ("plain", "p4") for seed in (0, 1)])
    f1 = f1_table(scores, costs, failures=failures)
    assert f1.set_index("model")["failed"].to_dict() == {"plain": 0, "p4": 1, "otsu": 0}
    assert failed_seeds(f1) == {("fluorescent", "p4"): [1]}
    [(modality, sentence)] = failure_sentences(f1)
    assert modality == "fluorescent"
    assert sentence.startswith(f"1 of 2 trainings of p4 (fluorescent) failed: seed 1 {reason}. Its numbers are no evid")


def test_specks_are_no_nuclei():
    specks = study(**SOUND)
    of_seed = (specks["model"] == "p4") & (specks["seed"] == 1)
    specks.loc[of_seed, ["object50_TP", "object50_FP", "object50_FN"]] = [0, 0, 8]
    assert find_failures(specks, TWINS)["reason"].tolist() == ["finds specks, and not one nucleus"]


@pytest.mark.parametrize("p4", [SOUND, {"found": 450, "wrong": 200}, {"found": 900, "wrong": 2500}])
def test_sound_and_weak_trainings_are_not_marked(p4):
    failures = find_failures(study(**p4), TWINS)
    assert failures.empty and failures.columns.tolist() == ["dataset", "modality", "model", "seed", "reason"]


def test_a_weak_model_of_hard_images_is_not_marked():
    scores = study(found=300, wrong=400)  # a third of its twin's F1, but above what Otsu's threshold makes of them
    otsu = scores["model"] == "otsu"
    scores.loc[otsu, "pixel_F1"] = 0.2
    assert find_failures(scores, TWINS).empty


def test_without_a_twin_the_other_seeds_are_the_measure():
    scores = study(found=100, wrong=0)
    [reason] = find_failures(scores)["reason"]
    assert reason == "finds little: its F1 is 0.182, Otsu's threshold has 0.762, its other seeds have 0.939"
    alone = scores[(scores["model"] != "p4") | (scores["seed"] == 1)]
    assert find_failures(alone).empty  # one seed, no twin: it may be a weak model
    assert find_failures(scores[scores["model"] != "otsu"], TWINS).empty


def test_a_failed_twin_is_no_measure():
    scores = study(found=100, wrong=0)
    plain = (scores["model"] == "plain") & (scores["seed"] == 0)
    scores.loc[plain, ["pixel_TP", "pixel_FP", "pixel_FN", "pixel_F1"]] = [0, 0, NUCLEI, 0.0]
    failures = find_failures(scores, TWINS)
    assert failures[["model", "seed"]].to_numpy().tolist() == [["plain", 0], ["p4", 1]]
    assert "plain has 0.923" in failures["reason"].iloc[1]


def test_finding_nothing_where_nothing_is_is_right():
    rows = training("otsu", 0, 0, 0, nuclei=0) + training("p4", 1, 0, 0, nuclei=0)
    assert find_failures(pd.DataFrame(rows), TWINS).empty


def test_one_empty_prediction_is_no_failed_training():
    scores = study(**SOUND)
    of_image = (scores["model"] == "p4") & (scores["seed"] == 1) & (scores["image_id"] == "i0")
    scores.loc[of_image, ["pixel_TP", "pixel_FP", "pixel_FN", "pixel_F1"]] = [0, 0, NUCLEI, 0.0]
    assert find_failures(scores, TWINS).empty


def test_other_modes_and_rotations_tell_nothing_of_a_training():
    scores = study(**SOUND)
    empty = [row | {"inference": "tta4"} for row in training("p4", 1, 0, 0)]
    turned = [row for row in training("p4", 5, 0, 0) if row["rotation"]]
    assert find_failures(pd.concat([scores, pd.DataFrame(empty + turned)]), TWINS).empty


def test_of_trainings_that_scatter_fewer_than_one_of_30000_is_far():
    """Trainings whose F1 scatters by 12 % of its mean, as images that both Otsu's threshold and the twin find easy."""
    random = np.random.default_rng(0)
    f1 = random.normal(0.7, 0.12 * 0.7, size=(200_000, 3))
    others = np.median(f1[:, 1:], axis=1)
    assert (f1[:, 0] < FAR * np.minimum(others, 0.7)).mean() < 1 / 30_000
    assert 2 * FEW / (1 + FEW) < 0.02


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(400, 1000), st.integers(0, 600)), min_size=4, max_size=4))
def test_where_nothing_failed_nothing_changes(found):
    rows = training("otsu", 0, 800, 300)
    for place, (right, wrong) in enumerate(found):
        rows += training(("plain", "p4")[place % 2], place // 2, right, wrong)
    scores = pd.DataFrame(rows)
    failures = find_failures(scores, TWINS)
    costs = pd.DataFrame([cost("plain", 0, 1.0)])
    assert failures.empty
    table = f1_difference_table(scores, costs, failures=failures)
    pd.testing.assert_frame_equal(table, f1_difference_table(scores, costs))
    assert table["left_out"].eq(0).all()
    pairs = f1_difference(scores).groupby(["model", "level"])["f1_difference"]
    shares = table.set_index(["model", "level"])
    for key, differences in pairs:
        assert shares.loc[key, "exact_zeros"] == (differences == 0).mean()
        assert shares.loc[key, "mean_absolute"] == differences.abs().mean()


def test_zeros_of_a_failed_training_are_left_out():
    costs = pd.DataFrame([cost(model, seed, 1.0) for model in ("plain", "p4") for seed in (0, 1)])
    everything = study(found=NUCLEI, wrong=BACKGROUND)
    everything.loc[(everything["model"] == "p4") & (everything["seed"] == 0) & (everything["rotation"] == 90),
                   ["pixel_FP", "agreement"]] = [41, 0.9]  # fmt: skip
    failures = find_failures(everything, TWINS)
    table = f1_difference_table(everything, costs, failures=failures).set_index(["model", "level"])
    p4 = table.loc["p4", "pixel"]
    assert [p4["comparisons"], p4["left_out"], p4["exact_zeros"], p4["different_masks"]] == [8, 8, 0.5, 4]
    assert p4["different_masks_high"] == pytest.approx(0.807, abs=5e-4)  # 4 of 8: Clopper and Pearson's table
    both = f1_difference_table(everything, costs, failures=pd.concat([failures, failures.assign(seed=0)]))
    p4 = both.set_index(["model", "level"]).loc["p4", "pixel"]
    assert [p4["comparisons"], p4["left_out"]] == [0, 16]
    numbers = ["mean", "mean_absolute", "max_absolute", "exact_zeros", "agreement", "identical_masks"]
    assert p4[[*numbers, "different_masks_high"]].isna().all()
    assert table.loc["plain", "pixel"]["different_masks_high"] == pytest.approx(1 - 0.05 ** (1 / 16))  # 0 of 16


def test_empty_predictions_are_left_out_whatever_the_training():
    rows = [
        *(image("p4", 0, 0, 0, 0, rotation, agreement=np.nan) for rotation in (0, 90)),
        *(image("p4", 0, 1, 900, 0, rotation) for rotation in (0, 90)),
        *(image("p4", 0, 2, 0, wrong, rotation, agreement=0.0) for rotation, wrong in ((0, 0), (90, 7))),
    ]
    differences = f1_difference(pd.DataFrame(rows))
    assert differences.set_index(["image_id", "level"])["left_out"].to_dict() == {
        (f"i{number}", level): number == 0 for number in range(3) for level in ("pixel", "object50")
    }
    pairs = pd.DataFrame({f"pixel_{count}{end}": [0] for count in ("TP", "FP", "FN") for end in ("", "_reference")})
    assert not says_nothing(pairs, "pixel", None).any()  # no nucleus there, and none found


def test_a_table_of_models_is_marked_by_seed():
    failures = pd.DataFrame(
        [("d", "m", "a", 3, "finds nothing"), ("d", "m", "a", 1, "finds little")],
        columns=["dataset", "modality", "model", "seed", "reason"],
    )
    table = pd.DataFrame({"dataset": "d", "modality": "m", "model": ["b", "a"]}, index=[5, 7])
    marked = with_failures(table, failures)
    assert marked["failed"].tolist() == [0, 2] and marked["failed_seeds"].tolist() == ["", "1, 3"]
    assert marked["failure"].tolist() == ["", "seed 1 finds little; seed 3 finds nothing"]
    assert with_failures(table, None)["failed"].tolist() == [0, 0]
