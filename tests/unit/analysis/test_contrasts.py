"""Comparisons of models: intervals, tests and verdicts on simulated scores whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from equinuclei.analysis import resampling
from equinuclei.analysis.contrasts import (
    MARGIN,
    MEASURES,
    SCORES,
    contrast_table,
    contrasts_by_cell_line,
    image_values,
    interval_table,
    verdict,
)
from equinuclei.analysis.resampling import estimates, holm, sign_flip_p
from equinuclei.config.contrasts import CONTRAST_MEASURE
from support.contrasts import study

NAN = float("nan")
ROOT = Path(__file__).parents[3]
BETWEEN = 0.78  # share of the variance that lies between groups


def declare(a, b, measure="pixel_F1", modes=("deployed", "deployed")):
    return {"a": a, "a_inference": modes[0], "b": b, "b_inference": modes[1], "measure": measure}


def row_of(table, measure, **where):
    for column, value in {"measure": measure, **where}.items():
        table = table[table[column] == value]
    (row,) = table.to_dict("records")
    return row


# Intervals


SCALE = 0.02


def simulated(random, groups, *, seeds=1, seed_variance=0.0, truth=0.0):
    """Scores (1, seeds, images) about 0.5, group of every image, and its cell line; a standard deviation of SCALE."""
    sizes = random.integers(2, 7, groups)
    of_image = np.repeat(np.arange(groups), sizes)
    values = random.normal(truth, np.sqrt(BETWEEN), groups)[of_image]
    values = values + random.normal(0, np.sqrt(1 - BETWEEN), len(of_image))
    values = values + random.normal(0, np.sqrt(seed_variance), (1, seeds, 1))
    return 0.5 + SCALE * values, of_image.astype(str), (of_image % 4).astype(str)


def coverage(groups, *, by_image=False, **design):
    """The share of simulated studies whose 95 % interval holds the truth."""
    covered = []
    for number in range(300):
        values, of_image, lines = simulated(np.random.default_rng([number, 7]), groups, **design)
        units = np.arange(len(of_image)).astype(str) if by_image else of_image
        _, low, high, _ = estimates(values, np.ones_like(values), units, lines).interval(np.array([0]))
        covered.append(low[0] <= 0.5 <= high[0])
    return np.mean(covered)


# A share of 300 studies has a standard error of 0.013 at 0.95.
@pytest.mark.parametrize(
    "groups, design",
    [(12, {}), (40, {}), (40, {"seeds": 2, "seed_variance": 0.02}), (40, {"seeds": 5, "seed_variance": 0.1})],
)
def test_an_interval_over_groups_covers_the_truth(groups, design):
    assert 0.9 <= coverage(groups, **design) <= 0.99


def test_an_interval_over_images_does_not():
    assert coverage(40, by_image=True) < 0.8


def test_an_interval_over_groups_of_one_seed_does_not_cover_other_seeds():
    assert coverage(40, seeds=1, seed_variance=0.1) < 0.8


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 30), st.integers(0, 1000))
def test_the_interval_of_groups_of_one_image_is_that_of_a_t_test(groups, seed):
    values = np.random.default_rng(seed).normal(0.3, 0.05, (1, 1, groups))
    names = np.arange(groups).astype(str)
    _, low, high, p = estimates(values, np.ones_like(values), names, np.full(groups, "HeLa")).interval(np.array([0]))
    expected = stats.ttest_1samp(values.ravel(), 0)
    interval = np.clip(expected.confidence_interval(0.95), 0, 1)
    assert [low[0], high[0]] == pytest.approx(interval.tolist())
    assert p[0] == pytest.approx(expected.pvalue)


def test_lines_of_one_group_are_resampled_together():
    values = np.array([[[0.4, 0.5, 0.6, 0.7]]])
    names = np.array(list("abcd"))

    def width(lines):
        _, low, high, _ = estimates(values, np.ones_like(values), names, np.array(lines)).interval(np.array([0]))
        return (high - low)[0]

    assert width(["l1", "l2", "l3", "l4"]) == width(["l", "l", "l", "l"]) > 0
    assert width(["l1", "l1", "l1", "l2"]) == width(["l", "l", "l", "l"])  # a single line joins the others
    assert np.isnan(estimates(values[..., :1], np.ones((1, 1, 1)), names[:1], names[:1]).interval(np.array([0]))[1])


def test_images_that_do_not_count_change_nothing():
    random = np.random.default_rng(0)
    values = random.random((1, 1, 9))
    names, lines = np.array(list("aabbccddd")), np.array(list("xxxxyyyyy"))
    counted = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0.0])
    with_them = estimates(values * counted, np.broadcast_to(counted, values.shape), names, lines)
    alone = estimates(values[..., :6], np.ones((1, 1, 6)), names[:6], lines[:6])
    assert with_them.sizes == alone.sizes == {"images": 6, "groups": 3, "seeds": 1}
    np.testing.assert_array_equal(with_them.interval(np.array([0])), alone.interval(np.array([0])))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000), st.floats(0, 1))
def test_intervals_are_of_scores_and_differences_that_can_be(groups, seeds, number, noise):
    random = np.random.default_rng(number)
    values = np.clip(
        np.round(random.choice([0.0, 1.0], (2, 1, 1)) + noise * random.normal(0, 1, (2, seeds, groups))), 0, 1
    )
    found = estimates(values, np.ones_like(values), np.arange(groups).astype(str), np.full(groups, "HeLa"))
    a, b = np.array([0]), np.array([1])
    for least, (estimate, low, high, p) in ((0, found.interval(a)), (-1, found.interval(a, b))):
        assert least <= low[0] <= estimate[0] <= high[0] <= 1 and 0 <= p[0] <= 1
        assert low[0] < high[0]


def test_a_difference_that_is_the_same_in_all_groups_is_not_certain():
    values = np.stack([np.ones((1, 5)), np.zeros((1, 5))])
    names = np.arange(5).astype(str)
    _, low, high, p = estimates(values, np.ones_like(values), names, names).interval(np.array([0]), np.array([1]))
    least = stats.binomtest(5, 5).proportion_ci(0.95, method="exact").low
    # At least that share of all groups has a difference of 1; the others may have -1.
    assert [low[0], high[0], p[0]] == pytest.approx([least - (1 - least), 1, 2 / 2**5])


def test_p_of_equivalence_goes_with_the_interval():
    values, of_image, lines = simulated(np.random.default_rng(5), 20, seeds=3, seed_variance=0.05)
    both, a, b = np.concatenate([values, np.full_like(values, 0.5)]), np.array([0]), np.array([1])
    found = estimates(both, np.ones_like(both), of_image, lines)
    _, low, high, _ = found.interval(a, b)
    margin = max(-low[0], high[0])
    assert found.equivalence_p(a, b, margin) == pytest.approx([0.05], rel=1e-3)
    assert found.equivalence_p(a, b, 0.9 * margin) > 0.05 > found.equivalence_p(a, b, 1.1 * margin)
    assert found.equivalence_p(a, b, 1e-9) == 1


def test_how_many_seeds_would_decide():
    """Of seeds that differ by a standard deviation s, and nothing else, n have an interval of +-t * s / sqrt(n)."""
    of_seed = 0.01 * np.array([-1.0, 0.0, 1.0])
    groups = np.random.default_rng(6).normal(0, 1e-6, 30)
    values = np.stack([0.5 + of_seed[:, np.newaxis] + groups, np.full((3, 30), 0.5)])
    names = np.arange(30).astype(str)
    found, a, b = estimates(values, np.ones_like(values), names, np.full(30, "HeLa")), np.array([0]), np.array([1])
    wide = [stats.t.ppf(0.975, n - 1) * 0.01 / np.sqrt(n) for n in range(2, 20)]
    assert found.seeds_needed(a, b, 0.01) == [2 + next(n for n, half in enumerate(wide) if half <= 0.01)]
    assert found.seeds_needed(a, b, 1e-4) == [np.inf]
    one = estimates(values[:, :1], np.ones((2, 1, 30)), names, np.full(30, "HeLa"))
    assert np.isnan(one.seeds_needed(a, b, 0.01)).all()


# Tests


def test_sign_flips_are_enumerated_for_few_groups():
    # Of 8 ways to flip 1, 2 and 4, sums of at least 7 and of at least 5 in size are reached by 2 and 4.
    p = sign_flip_p(np.array([[1.0, 2.0, 4.0], [-1.0, 2.0, 4.0]]).T)
    assert p.tolist() == [2 / 8, 4 / 8]
    assert sign_flip_p(np.zeros((3, 1))).tolist() == [1]
    # Groups without a difference neither help nor harm.
    assert sign_flip_p(np.array([[1.0, 2.0, 4.0, 0.0, 0.0]]).T).tolist() == [2 / 8]


def test_random_flips_agree_with_all_of_them(monkeypatch):
    values = np.random.default_rng(1).normal(0.4, 1, (12, 6))
    exact = sign_flip_p(values)
    monkeypatch.setattr(resampling, "EXACT_GROUPS", 3)
    drawn = sign_flip_p(values)
    assert drawn == pytest.approx(exact, abs=0.02) and (drawn != exact).any()
    assert sign_flip_p(np.full((30, 1), 0.1)).tolist() == [1 / 10_000]  # never 0


def test_the_sign_flip_test_keeps_its_level_with_mostly_zeros():
    random = np.random.default_rng(2)
    values = random.normal(size=(20, 400)) * (random.random((20, 400)) < 0.4)
    assert 0.02 < np.mean(sign_flip_p(values) < 0.05) < 0.08


def test_holm():
    assert holm(np.array([0.01, 0.04, NAN, 0.03])).tolist() == pytest.approx([0.03, 0.06, NAN, 0.06], nan_ok=True)
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize(
    "measure, low, high, p, p_equivalent, expected",
    [
        ("pixel_F1", 0.006, 0.02, 0.01, 1, "better"),
        ("pixel_F1", -0.02, -0.006, 0.01, 1, "worse"),
        ("pixel_F1", -0.004, 0.004, 0.9, 0.01, "equivalent"),
        ("pixel_F1", 0.001, 0.004, 0.001, 0.01, "equivalent"),  # surely better, by what does not matter
        ("pixel_F1", -0.004, 0.004, 0.9, 0.06, "not decided"),  # corrected
        ("pixel_F1", 0.006, 0.02, 0.06, 1, "not decided"),  # corrected
        ("pixel_F1", NAN, NAN, NAN, NAN, "not decided"),
        ("pixel_difference", -0.004, -0.001, 0.01, NAN, "better"),  # of differences less is better
        ("pixel_difference", 0.001, 0.004, 0.01, NAN, "worse"),
        ("pixel_difference", -0.001, 0.004, 0.01, NAN, "not decided"),  # not over the seeds
        ("object50_zeros", 0.1, 0.4, 0.01, NAN, "better"),
    ],
)
def test_verdicts(measure, low, high, p, p_equivalent, expected):
    assert verdict(measure, (low, high), p, p_equivalent) == expected


@pytest.mark.parametrize(
    "shift, spread, expected", [(0.05, 0.02, "better"), (-0.05, 0.02, "worse"), (0.0, 0.002, "equivalent")]
)
def test_a_known_truth_is_found(shift, spread, expected):
    random = np.random.default_rng(3)
    found = []
    for _ in range(20):
        values, of_image, lines = simulated(random, 60, seeds=3)
        both = np.concatenate([0.5 + shift + spread * (values - 0.5) / SCALE, np.full_like(values, 0.5)])
        compared, a, b = estimates(both, np.ones_like(both), of_image, lines), np.array([0]), np.array([1])
        _, low, high, p = compared.interval(a, b)
        found.append(verdict("pixel_F1", (low[0], high[0]), p[0], compared.equivalence_p(a, b, MARGIN)[0]))
    assert found.count(expected) >= 19


# Tables


def noisy(better=0, turns=0):
    """Counts of a study in which "net" finds `better` more objects, and "other" loses up to 2 * `turns` when turned."""
    random = np.random.default_rng(4)
    drawn = random.integers(0, 3, (100, 4))

    def counts(model, seed, image, rotation):
        hits = 40 + int(drawn[image, seed]) + (better if model == "net" else 0)
        return hits - (turns * (image % 3) if rotation and model == "other" else 0), 5, 5

    return counts


def test_a_contrast_is_paired_on_images_and_seeds():
    table = contrast_table(image_values(study(noisy(better=4), seeds=(0, 1))), order=["other", "net"])
    assert table.columns.tolist() == [
        *("dataset", "modality", "a", "a_inference", "b", "b_inference", "measure", "kind"),
        *("images", "groups", "seeds", "a_value", "b_value", "difference", "low", "high", "p", "p_holm"),
        *("p_equivalent", "p_equivalent_holm", "seeds_needed", "verdict", "note"),
    ]
    assert table["measure"].tolist() == list(MEASURES)
    assert table["a"].eq("other").all() and table["kind"].eq("exploratory").all() and table["p_holm"].isna().all()
    row = row_of(table, "pixel_F1")
    assert [row["images"], row["groups"], row["seeds"], row["verdict"]] == [12, 12, 2, "worse"]
    scores = study(noisy(better=4), seeds=(0, 1))
    means = scores[scores["rotation"] == 0].groupby("model")["pixel_F1"].mean()
    assert [row["a_value"], row["b_value"]] == pytest.approx([means["other"], means["net"]])
    assert row["difference"] == pytest.approx(means["other"] - means["net"])
    # Images differ far more than the two nets on them: without pairing the interval would hold 0.
    assert row["high"] < 0 and row["high"] - row["low"] < 0.3 * scores["pixel_F1"].std()


def test_pooled_scores_are_of_summed_counts():
    scores = study(noisy(better=4), seeds=(0, 1))
    row = row_of(contrast_table(image_values(scores)), "object50_F1_pooled")
    sums = scores[scores["rotation"] == 0].groupby(["model", "seed"])[["pixel_TP", "pixel_FP", "pixel_FN"]].sum()
    pooled = 2 * sums["pixel_TP"] / (2 * sums["pixel_TP"] + sums["pixel_FP"] + sums["pixel_FN"])
    means = pooled.groupby("model").mean()
    assert row["difference"] == pytest.approx(means["net"] - means["other"]) and row["low"] < row["difference"]


def test_the_same_scores_give_the_same_table_in_any_order():
    scores = study(noisy(turns=1), seeds=(0, 1))
    table = contrast_table(image_values(scores), [declare("net", "other")], order=["net", "other"])
    shuffled = contrast_table(
        image_values(scores.sample(frac=1, random_state=0)), [declare("net", "other")], order=["net", "other"]
    )
    pd.testing.assert_frame_equal(table, shuffled)


def test_equal_nets_are_equivalent():
    table = contrast_table(image_values(study(noisy())))
    scores = table[table["measure"].isin(SCORES)]
    assert (scores[["difference", "low", "high"]] == 0).all(axis=None) and scores["verdict"].eq("equivalent").all()
    assert table.loc[~table["measure"].isin(SCORES), "verdict"].eq("not decided").all()


def test_declared_contrasts_come_first_and_are_corrected_together():
    models = ("net", "other", "third")
    scores = study(noisy(better=1), models=models)
    declared = [declare("other", "net"), declare("third", "net", "object50_AP"), declare("net", "other", "pixel_zeros")]
    table = contrast_table(image_values(scores), declared, order=models)
    first = table.iloc[:3]
    assert first["kind"].eq("declared").all() and table.iloc[3:]["kind"].eq("exploratory").all()
    assert first[["a", "b", "measure"]].to_numpy().tolist() == [[c["a"], c["b"], c["measure"]] for c in declared]
    np.testing.assert_array_equal(first["p_holm"], holm(first["p"].to_numpy()))
    assert table.iloc[3:]["p_holm"].isna().all()
    # Every pair once under every measure.
    pairs = table.assign(pair=[frozenset(pair) for pair in table[["a", "b"]].to_numpy()])
    assert len(pairs) == 3 * len(MEASURES) == len(pairs.drop_duplicates(["pair", "measure"]))
    with pytest.raises(ValueError, match=r"absent \(deployed\), which was not scored"):
        contrast_table(image_values(scores), [declare("absent", "net")])


def test_correction_may_leave_a_contrast_undecided():
    hits = {"net": [46] * 9 + [37] * 3, "first": [40] * 12, "second": [43] * 6 + [44] * 6, "third": [44, 42] * 6}
    values = image_values(study(lambda model, seed, image, _: (hits[model][image], 5, 5), models=tuple(hits)))
    declared = [declare("net", name) for name in ("first", "second", "third")]
    alone = contrast_table(values, declared[:1]).iloc[0]
    among_three = contrast_table(values, declared).iloc[0]
    assert 0.05 / 3 < alone["p"] == alone["p_holm"] < 0.05 and alone["verdict"] == "better"
    assert among_three["p_holm"] == 3 * alone["p"] and among_three["verdict"] == "not decided"


def test_no_verdict_rests_on_a_training_that_failed():
    models = ("net", "other", "third")
    values = image_values(study(noisy(better=4, turns=2), models=models, seeds=(0, 1, 2)))
    declared = [declare("net", "other"), declare("net", "third"), declare("net", "other", "pixel_difference")]
    sound = contrast_table(values, declared, ["net"], models)
    failed = {("other", "fluorescence", 1), ("third", "brightfield", 0), ("absent", "fluorescence", 0)}
    table = contrast_table(values, declared, ["net"], models, failed)
    assert sound.loc[[0, 1, 2], "verdict"].tolist() == ["better"] * 3
    touched = table[["a", "b"]].eq("other").any(axis=1)
    assert touched.any() and table.loc[touched, "verdict"].eq("not decided").all()
    assert table.loc[touched, "note"].eq("1 of 3 trainings of other failed").all()
    assert table.loc[touched, ["p", "p_holm", "p_equivalent", "p_equivalent_holm"]].isna().all(axis=None)
    # The other contrasts are neither surer nor less sure.
    pd.testing.assert_frame_equal(
        table[~touched].drop(columns=["p_holm", "p_equivalent_holm"]),
        sound[~touched].drop(columns=["p_holm", "p_equivalent_holm"]),
    )
    assert table.loc[1, "p_holm"] == 2 * table.loc[1, "p"]
    assert contrasts_by_cell_line(values, declared[:1], failed=failed)["verdict"].eq("not decided").all()
    notes = interval_table(values, models, failed).groupby("model")["note"].unique()
    assert notes["other"].tolist() == ["1 of 3 trainings of other failed"] and notes["net"].tolist() == [""]


def test_equivalence_is_corrected_with_the_other_declared_contrasts():
    hits = {"net": [40] * 6 + [41] * 6, "first": [40] * 5 + [41] * 7, "second": [43] * 6 + [44] * 6}
    values = image_values(study(lambda model, seed, image, _: (hits[model][image], 5, 5), models=tuple(hits)))
    alone = contrast_table(values, [declare("net", "first")]).iloc[0]
    both = contrast_table(values, [declare("net", "first"), declare("net", "second")]).iloc[:2]
    assert alone["verdict"] == "equivalent" and alone["p_equivalent"] == alone["p_equivalent_holm"] < 0.05
    np.testing.assert_array_equal(both["p_equivalent_holm"], holm(both["p_equivalent"].to_numpy()))
    assert both["p_equivalent_holm"].iloc[0] == 2 * alone["p_equivalent"] and both["p_equivalent"].iloc[1] == 1


def test_other_modes_take_part_and_exact_only_where_declared():
    scores = study(noisy(turns=1))
    modes = pd.concat(
        [scores, scores.assign(inference="exact"), scores[scores["model"] == "other"].assign(inference="tta4")]
    )
    declared = [
        declare("net", "other", "pixel_F1", ("deployed", "tta4")),
        declare("net", "other", modes=("exact",) * 2),
    ]
    table = contrast_table(image_values(modes), declared)
    assert table.loc[table["kind"] == "declared", ["a_inference", "b_inference"]].to_numpy().tolist() == [
        ["deployed", "tta4"],
        ["exact", "exact"],
    ]
    assert not (table.loc[table["kind"] == "exploratory", ["a_inference", "b_inference"]] == "exact").any(axis=None)
    assert len(table) == 3 * len(MEASURES) + 1


def test_differences_are_absolute_means_over_the_rotations_of_an_image():
    row = row_of(contrast_table(image_values(study(noisy(turns=2)))), "pixel_difference")
    scores = study(noisy(turns=2))
    f1 = scores[scores["model"] == "other"].pivot_table(index="image_id", columns="rotation", values="pixel_F1")
    absolute = f1[[90, 180]].rsub(f1[0], axis=0).abs().mean(axis=1)
    assert row["b_value"] == pytest.approx(absolute.mean()) and row["a_value"] == 0
    zeros = row_of(contrast_table(image_values(study(noisy(turns=2)))), "object50_zeros")
    assert [zeros["a_value"], zeros["b_value"], zeros["verdict"]] == [1, 4 / 12, "better"]
    assert row["verdict"] == "better" and row["note"] == "" and row["p"] == 2 / 2**8  # eight images differ


def test_zero_by_construction_is_not_tested():
    values = image_values(study(noisy(turns=2), models=("net", "other", "otsu")))
    table = contrast_table(values, [declare("other", "net", "pixel_difference")], equivariant=["net"])
    row = table.iloc[0]
    assert [row["verdict"], row["note"]] == ["worse", "b: zero by construction"]
    assert np.isnan(row["p"]) and np.isnan(row["p_holm"]) and row["low"] > 0
    both = row_of(table, "object50_zeros", a="net", b="otsu")
    assert [both["verdict"], both["note"]] == ["equivalent", "a and b: zero by construction"]
    assert row_of(table, "pixel_F1", a="other", b="otsu")["note"] == ""
    # An architecture that should be exact, and was not, is tested as any other.
    turned = contrast_table(values, equivariant=["other"])
    assert row_of(turned, "pixel_difference", a="net", b="other")["note"] == ""
    # A plain net that happened to be zero is not known to be.
    lucky = contrast_table(image_values(study(noisy())), equivariant=["net"])
    assert row_of(lucky, "pixel_zeros")["verdict"] == "not decided"


def test_mirrored_images_are_no_rotations():
    scores = study(noisy())
    mirrored = scores.assign(mirrored=True, pixel_TP=1)
    pd.testing.assert_frame_equal(image_values(pd.concat([scores, mirrored])), image_values(scores))


def test_images_without_a_true_nucleus_do_not_count_per_image():
    def counts(model, seed, image, rotation):
        return (0, 7 if model == "net" else 0, 0) if image == 0 else noisy()(model, seed, image, rotation)

    table = contrast_table(image_values(study(counts)))
    assert row_of(table, "pixel_F1")["images"] == 11 and row_of(table, "pixel_F1")["difference"] == 0
    assert row_of(table, "pixel_F1_pooled")["difference"] < 0


def test_without_rotations_scores_alone_are_compared():
    table = contrast_table(image_values(study(noisy(), rotations=(0,))))
    assert table["measure"].tolist() == list(SCORES)


def test_nets_are_scored_on_the_same_images_and_seeds():
    scores = study(noisy(), seeds=(0, 1))
    for missing in ((scores["seed"] == 1), (scores["image_id"] == "i03")):
        with pytest.raises(ValueError, match="not scored with seed"):
            contrast_table(image_values(scores[~(missing & (scores["model"] == "net"))]))


def test_the_threshold_stands_beside_every_seed():
    scores = study(noisy(better=1), seeds=(0, 1))
    otsu = study(noisy(), models=("otsu",))
    table = contrast_table(image_values(pd.concat([otsu, scores])))
    row = row_of(table, "pixel_F1", a="net", b="otsu")
    assert row["seeds"] == 2 and row["b_value"] == otsu.loc[otsu["rotation"] == 0, "pixel_F1"].mean()


def test_declared_contrasts_in_every_cell_line():
    values = image_values(study(noisy(better=4)))
    table = contrasts_by_cell_line(values, [declare("net", "other")])
    assert table.columns[:3].tolist() == ["dataset", "modality", "cell_line"]
    assert table["cell_line"].tolist() == ["A549", "HeLa"] and table["kind"].eq("exploratory").all()
    assert table["groups"].eq(6).all() and table["verdict"].eq("better").all() and table["p_holm"].isna().all()
    alone = contrast_table(values[values["cell_line"] == "HeLa"])
    assert row_of(alone, "pixel_F1")["low"] == table["low"].iloc[1]
    empty = contrasts_by_cell_line(values)
    assert empty.empty and empty.columns.tolist() == table.columns.tolist()


def test_every_model_has_its_interval():
    scores = study(noisy(better=2, turns=1), seeds=(0, 1))
    table = interval_table(image_values(scores), ["other", "net"])
    assert table["model"].tolist() == ["other"] * len(MEASURES) + ["net"] * len(MEASURES)
    assert table.loc[table["model"] == "net", "measure"].tolist() == list(MEASURES)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert table["low"].min() >= 0 and table["high"].max() <= 1
    zeros = row_of(table, "pixel_zeros", model="net")
    # Clopper and Pearson: of 12 groups of 12, at least this share of all.
    exact = stats.binomtest(12, 12).proportion_ci(0.95, method="exact")
    assert [zeros["low"], zeros["value"], zeros["high"]] == pytest.approx([exact.low, 1, 1])


def test_one_group_has_no_interval():
    scores = study(noisy(better=2)).assign(group="well", cell_line="HeLa")
    row = row_of(contrast_table(image_values(scores)), "pixel_F1")
    assert row["groups"] == 1 and row["difference"] > 0 and np.isnan(row["low"]) and row["verdict"] == "not decided"


def test_the_configuration_knows_every_measure():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert schema["$defs"]["contrast"]["properties"]["measure"]["enum"] == list(MEASURES)
    assert CONTRAST_MEASURE in MEASURES
