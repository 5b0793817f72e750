"""Subsets of the training part: nested, stratified, seeded, of the training part alone, and at equal compute."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.dataset.parts import Part, load_part, read_splits
from equinuclei.dataset.subsets import dealt_groups, in_subset, list_subsets, subset_rows
from equinuclei.errors import InputError
from equinuclei.runtime.provenance import read_run
from equinuclei.training import tuning
from equinuclei.training.task import SegmentationTask
from equinuclei.training.train import train_model
from support.training import SETTINGS, SPEC, train
from support.training import part as discs


def rows_of(sizes):
    """Rows of a part: the cell lines with the numbers of images of their groups."""
    rows = [
        (f"{line}{group}_{image}", line, f"{line}{group}")
        for line, groups in sizes.items()
        for group, images in enumerate(groups)
        for image in range(images)
    ]
    return pd.DataFrame(rows, columns=["image_id", "cell_line", "group"])


parts = st.dictionaries(st.sampled_from("ABCDE"), st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1).map(
    rows_of
)


@settings(deadline=None)
@given(parts, st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_subsets_are_nested_whole_and_independent_of_the_order_of_rows(rows, seed, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    dealt = dealt_groups(rows, seed)
    assert sorted(dealt) == sorted(set(rows["group"])) and dealt == dealt_groups(rows.iloc[order], seed)
    smaller = set()
    for count in range(1, len(dealt)):
        chosen = subset_rows(rows, {"groups": count}, seed)
        groups = set(rows.loc[chosen, "group"])
        assert len(groups) == count and smaller < groups and not groups & set(rows.loc[~chosen, "group"])
        smaller = groups


@settings(deadline=None)
@given(parts, st.integers(0, 2**32))
def test_every_cell_line_gives_the_same_share_to_rounding(rows, seed):
    of_line = rows.drop_duplicates("group").set_index("group")["cell_line"]
    totals = of_line.value_counts()
    dealt = dealt_groups(rows, seed)
    for count in range(1, len(dealt)):
        taken = of_line[dealt[:count]].value_counts().reindex(totals.index, fill_value=0)
        assert ((taken - 0.5) / totals).max() <= ((taken + 0.5) / totals).min() + 1e-12
        if totals.min() == totals.max():
            assert taken.max() - taken.min() <= 1


def test_another_seed_draws_other_groups_and_more_groups_move_none():
    rows = rows_of({"A": [1] * 40, "B": [1] * 40})
    draws = {frozenset(dealt_groups(rows, seed)[:8]) for seed in range(20)}
    assert len(draws) == 20
    # With an eighth cell line group the order of the others stays what it was.
    more = dealt_groups(rows_of({"A": [1] * 40, "B": [1] * 41}), 0)
    assert [group for group in more if group[0] == "A"] == [g for g in dealt_groups(rows, 0) if g[0] == "A"]
    # Which of equal cell lines comes first is drawn too.
    assert {dealt_groups(rows, seed)[0][0] for seed in range(20)} == {"A", "B"}


def test_a_cell_line_is_left_out_whole_whatever_the_seed():
    rows = rows_of({"A": [2, 1], "B": [3], "C": [1, 1]})
    for seed in (0, 1):
        chosen = subset_rows(rows, {"without": "B"}, seed)
        assert set(rows.loc[chosen, "cell_line"]) == {"A", "C"} and chosen.sum() == 5
    assert subset_rows(rows, {}, 0).all()


@pytest.mark.parametrize(
    "sizes, subset, told",
    [
        ({"A": [1, 2]}, {"groups": 3}, "3 groups are asked for, and the training part has 2"),
        ({"A": [1, 2]}, {"groups": 2}, "the whole part is always the last point"),
        ({"A": [1], "B": [1]}, {"without": "HeLa"}, "no cell line 'HeLa'; its cell lines are A, B"),
        ({"A": [1, 2]}, {"without": "A"}, "'A' is the only cell line"),
    ],
)
def test_subsets_that_cannot_be_made_are_refused(sizes, subset, told):
    with pytest.raises(InputError, match=told):
        subset_rows(rows_of(sizes), subset, 0)


def test_a_subset_holds_training_images_alone_and_keeps_the_crops_of_the_whole(converted):
    where = [converted[name] for name in ("images", "targets", "fields", "splits")]
    training = set(read_splits(converted["splits"]).query("part == 'train'")["image_id"])
    whole = load_part(*where, modality="fluorescence", part="train")
    assert set(whole.fields["image_id"]) == training == {"i0", "i1"} and whole.crops == 2
    for seed in range(5):
        some = load_part(*where, modality="fluorescence", part="train", keep=in_subset({"groups": 1}, seed))
        assert set(some.fields["image_id"]) < training and some.crops == 2 and len(some.images) == 1
        (number,) = np.flatnonzero(whole.fields["image_id"].isin(some.fields["image_id"]))
        np.testing.assert_array_equal(some.images[0], whole.images[number])
        np.testing.assert_array_equal(some.targets[0], whole.targets[number])
        assert some.fields.index.tolist() == [0]


def test_the_list_of_subsets_tells_every_group(converted, tmp_path):
    subsets = {"1groups": {"groups": 1}, "without-a": {"without": "a"}, "all": {}}
    where = {"modalities": ["fluorescence"], "subsets": subsets, "seeds": [0, 7], "output": tmp_path / "subsets.tsv"}
    list_subsets(converted["fields"], converted["splits"], **where)
    table = pd.read_csv(tmp_path / "subsets.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == ["modality", "subset", "seed", "cell_line", "group", "images"]
    assert table.groupby(["subset", "seed"]).size().to_dict() == {
        ("1groups", "0"): 1, ("1groups", "7"): 1, ("without-a", ""): 1, ("all", ""): 2
    }  # fmt: skip
    assert table.loc[table["subset"] == "without-a", "cell_line"].tolist() == ["b"]
    with pytest.raises(InputError, match=r"fields\.tsv, fluorescence: learning_curve: 9 groups"):
        list_subsets(converted["fields"], converted["splits"], **(where | {"subsets": {"9groups": {"groups": 9}}}))


def test_a_training_on_fewer_images_takes_as_many_steps(tmp_path, monkeypatch):
    taken = []
    original = SegmentationTask.training_step

    def step(task, batch, index):
        taken.append(len(batch[0]))
        return original(task, batch, index)

    monkeypatch.setattr(SegmentationTask, "training_step", step)
    whole = discs(10)
    some = Part(whole.fields.iloc[:3], whole.images[:3], whole.targets[:3], crops=10)
    for name, training in (("whole", whole), ("some", some)):
        train(tmp_path / name, training=training)
        record = read_run(tmp_path / name / "run.json")
        assert record["crops_per_epoch"] == 10 and record["images"] == len(training.images)
        history = pd.read_csv(tmp_path / name / "history.csv")
        assert len(history) == SETTINGS.epochs and history["train_loss"].between(0.01, 2).all()
    assert taken == 2 * [4, 4, 2] * SETTINGS.epochs


def test_the_learning_rate_of_a_subset_is_chosen_within_it(tmp_path, monkeypatch):
    """Whole groups of the subset are held out, and a candidate takes its share of the steps of the whole part."""
    whole = discs(20)
    groups = [f"well{number // 2}" for number in range(20)]
    fields = whole.fields.assign(group=groups, cell_line=["A"] * 10 + ["B"] * 10)
    chosen = np.flatnonzero(subset_rows(fields, {"groups": 5}, 3))
    some = Part(
        fields.iloc[chosen].reset_index(drop=True), [whole.images[n] for n in chosen],
        [whole.targets[n] for n in chosen], crops=20,
    )  # fmt: skip
    trained = []

    def noted(spec, rest, *others, **more):
        trained.append(rest)
        train_model(spec, rest, *others, **more)

    monkeypatch.setattr(tuning, "train_model", noted)
    tuned = {key: value for key, value in asdict(SETTINGS).items() if key != "learning_rate"} | {"epochs": 1}
    tuning.choose_learning_rate(SPEC, some, tuned, [0.001, 0.01], seed=3, output=tmp_path / "learning_rate.json")
    choice = read_run(tmp_path / "learning_rate.json")
    assert {*choice["trained_on"], *choice["held_out"]} == set(some.fields["image_id"])
    group = dict(zip(fields["image_id"], groups, strict=True))
    assert not {group[i] for i in choice["trained_on"]} & {group[i] for i in choice["held_out"]}
    assert [rest.crops for rest in trained] == [16, 16]
