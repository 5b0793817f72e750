"""The learning rate is chosen on held-out groups of the training part, reproducibly, and resumes."""

import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from equinuclei.dataset.parts import Part
from equinuclei.errors import InputError
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.specs import ModelSpec
from equinuclei.symmetry import IDENTITY
from equinuclei.training import tuning
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.task import SegmentationTask
from equinuclei.training.train import TrainingFiles, train_model
from equinuclei.training.tuning import choose_learning_rate, hold_out
from support.training import SETTINGS
from support.training import part as discs

SPEC = ModelSpec("simplified", "p4", (2, 4), "none")
TUNED = {key: value for key, value in asdict(SETTINGS).items() if key != "learning_rate"} | {"epochs": 3}
RATES = [0.05, 5e-3, 1e-2]


def part():
    """Two images a group, two cell lines."""
    images = discs(20)
    groups = [f"well{number // 2}" for number in range(20)]
    return Part(images.fields.assign(group=groups, cell_line=["A"] * 10 + ["B"] * 10), images.images, images.targets)


def choose(folder, rates=RATES, training=None, **more):
    output = folder / "learning_rate.json"
    choose_learning_rate(SPEC, training or part(), TUNED, rates, seed=3, output=output, **more)
    return json.loads(output.read_text())


def held_out_f1(folder, rate):
    """The score of a learning rate, by hand."""
    training = part()
    held = hold_out(training.fields, 3)
    rest = Part(
        training.fields[~held],
        [image for image, out in zip(training.images, held, strict=True) if not out],
        [target for target, out in zip(training.targets, held, strict=True) if not out],
    )
    files = TrainingFiles.inside(folder / f"{rate}")
    train_model(SPEC, rest, None, TrainingSettings(**TUNED, learning_rate=rate), seed=3, files=files)
    network = load_model(files.weights)
    logits = [predict_transforms(network, training.images[n], [IDENTITY])[IDENTITY] for n in np.flatnonzero(held)]
    truth = np.concatenate([training.targets[n].ravel() for n in np.flatnonzero(held)])
    return pixel_scores(truth, np.concatenate([image.ravel() for image in logits]) > 0)["F1"]


def without_seconds(path):
    return re.sub(r'"seconds": [\d.]+', "", path.read_text())


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen")
    choose(folder, code="abc", record={"dataset": "discs"})
    return folder / "learning_rate.json"


def test_the_best_on_the_images_held_out_is_chosen(chosen, tmp_path):
    choice = json.loads(chosen.read_text())
    scores = {candidate["learning_rate"]: candidate["F1"] for candidate in choice["candidates"]}
    assert list(scores) == sorted(RATES)
    assert scores == {rate: held_out_f1(tmp_path, rate) for rate in RATES}
    assert len(set(scores.values())) == 3 and choice["learning_rate"] == max(scores, key=scores.get) == 1e-2
    assert not any(candidate["diverged"] for candidate in choice["candidates"])
    assert all(0 < candidate["loss"] < 1 and candidate["seconds"] > 0 for candidate in choice["candidates"])


@pytest.mark.parametrize(
    "scores, best, warning",
    [
        ([0.2, 0.9, 0.4], 1e-2, None),
        ([0.9, 0.2, 0.9], 5e-3, "the best lies at the edge of the candidates: 0.005 of 0.005, 0.01, 0.05"),
        ([0.2, 0.9, 0.9], 1e-2, None),
        ([0.2, 0.3, 0.4], 0.05, "the best lies at the edge"),
        ([0, 0, 0], 5e-3, "no candidate finds a nucleus"),
    ],
)
def test_the_choice_follows_the_scores(tmp_path, monkeypatch, caplog, scores, best, warning):
    left = iter(scores)
    monkeypatch.setattr(tuning, "train_model", lambda *_, files, **more: pretend(files))
    monkeypatch.setattr(tuning, "load_model", lambda *_: None)
    monkeypatch.setattr(tuning, "predict_transforms", lambda *_: {IDENTITY: np.zeros((1, 40, 48))})
    monkeypatch.setattr(tuning, "pixel_scores", lambda *_: {"F1": next(left)})
    assert choose(tmp_path)["learning_rate"] == best
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


def pretend(files):
    files.history.parent.mkdir(exist_ok=True)
    files.history.write_text("epoch,train_loss\n1,0.5\n")
    files.run.write_text('{"train_seconds": 1.0}')


def test_the_file_tells_what_was_done(chosen):
    choice = json.loads(chosen.read_text())
    assert choice["tuning_epochs"] == 3 and choice["seed"] == 3 and choice["dataset"] == "discs"
    assert choice["spec"] == SPEC.to_dict() and choice["code_sha256"] == "abc" and "torch" in choice["packages"]
    assert choice["training"] == {key: value for key, value in TUNED.items() if key != "epochs"}
    assert len(choice["trained_on"]) == 16 and len(choice["held_out"]) == 4
    assert sorted(choice["trained_on"] + choice["held_out"]) == sorted(part().fields["image_id"])
    assert [path.name for path in chosen.parent.iterdir()] == ["learning_rate.json"]


def test_the_same_choice_gives_the_same_bytes(chosen, tmp_path):
    choose(tmp_path, sorted(RATES), code="abc", record={"dataset": "discs"})
    assert without_seconds(tmp_path / "learning_rate.json") == without_seconds(chosen)


@pytest.mark.parametrize("mark_of_first", ["whole", "cut off"])
def test_interrupted_tuning_resumes(chosen, tmp_path, monkeypatch, caplog, mark_of_first):
    epochs = []

    def interrupt(task):
        epochs.append(task.settings.learning_rate)
        if len(epochs) == 6:  # in the third epoch of the second candidate
            raise KeyboardInterrupt

    settings = {"code": "abc", "record": {"dataset": "discs"}}
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(SegmentationTask, "on_train_epoch_start", interrupt)
        choose(tmp_path, **settings)
    assert not (tmp_path / "learning_rate.json").exists()
    if mark_of_first == "cut off":  # it is scored again, with the weights that are there
        (mark,) = tmp_path.glob(".learning_rate.json.work-*/*/.done-0")
        mark.write_bytes(mark.read_bytes()[:20])
    epochs.clear()
    caplog.set_level("INFO")
    monkeypatch.setattr(
        SegmentationTask, "on_train_epoch_start", lambda task: epochs.append(task.settings.learning_rate)
    )
    choose(tmp_path, **settings)
    assert epochs == [1e-2, 0.05, 0.05, 0.05] and "resuming after epoch 2 of 3" in caplog.text
    assert without_seconds(tmp_path / "learning_rate.json") == without_seconds(chosen)
    assert [path.name for path in tmp_path.iterdir()] == ["learning_rate.json"]


def test_a_candidate_that_diverges_is_not_chosen(tmp_path, caplog):
    choice = choose(tmp_path, [1e36, 1e-2])
    assert choice["learning_rate"] == 1e-2
    assert choice["candidates"][1] | {"seconds": 0} == {
        "learning_rate": 1e36, "F1": 0, "loss": None, "seconds": 0, "diverged": True,
    }  # fmt: skip
    assert "learning rate 1e+36: the training loss became" in caplog.text


def test_what_cannot_be_chosen_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"diverges with every candidate of `learning_rate` \(1e\+36, 2e\+36\)"):
        choose(tmp_path, [1e36, 2e36])
    whole = part()
    one = Part(whole.fields.assign(group="well", cell_line="A"), whole.images, whole.targets)
    with pytest.raises(InputError, match=r"has 1 group of images.*give one number as `learning_rate`"):
        choose(tmp_path, training=one)
    empty = Part(whole.fields, whole.images, [np.zeros_like(target) for target in whole.targets])
    with pytest.raises(InputError, match=r"none of the 4 training images held out .* has a nucleus"):
        choose(tmp_path, training=empty)
    with pytest.raises(InputError, match="crops of 33 pixels"):  # no divergence: told at once
        choose_learning_rate(SPEC, whole, {**TUNED, "crop": 33}, RATES, seed=3, output=tmp_path / "learning_rate.json")
    assert not (tmp_path / "learning_rate.json").exists()


def test_groups_are_held_out_as_a_whole_and_in_every_cell_line():
    rng = np.random.default_rng(0)
    lines = [line for line, groups in {"A": 10, "B": 10, "C": 5, "D": 1}.items() for _ in range(groups)]
    sizes = rng.integers(1, 9, len(lines))
    sizes[-1] = 100  # more images than all others together
    table = pd.DataFrame({"group": [f"g{n}" for n in range(len(lines))], "cell_line": lines})
    fields = table.loc[table.index.repeat(sizes)].reset_index(drop=True)
    different = set()
    for seed in range(5):
        held = hold_out(fields, seed)
        assert pd.Series(held).groupby(fields["group"]).nunique().eq(1).all()
        groups = fields[held].drop_duplicates("group")
        assert groups["cell_line"].value_counts().to_dict() == {"A": 2, "B": 2, "C": 1}
        shuffled = rng.permutation(len(fields))
        np.testing.assert_array_equal(hold_out(fields.iloc[shuffled], seed), held[shuffled])
        different.add(tuple(groups["group"]))
    assert len(different) == 5


@pytest.mark.parametrize("groups, held", [(2, 1), (7, 1), (8, 2), (14, 3), (100, 20)])
def test_a_fifth_of_the_groups_is_held_out(groups, held):
    fields = pd.DataFrame({"group": [str(n) for n in range(groups)], "cell_line": "A"})
    assert hold_out(fields, 0).sum() == held
