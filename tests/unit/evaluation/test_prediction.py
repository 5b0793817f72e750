"""Predictions that two jobs want to make at once: one makes them, and the other leaves them as they are."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from equinuclei.checksums import RECORD, sha256
from equinuclei.dataset.parts import read_predictions
from equinuclei.evaluation import prediction
from equinuclei.evaluation.examples import read_examples
from equinuclei.evaluation.prediction import PredictionFiles, PredictionSettings, predict_part
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.omezarr.stacks import store_attributes
from equinuclei.runtime import ownership
from support.tiny_model import tiny_weights

SETTINGS = PredictionSettings(mirrored=False, inferences=["deployed"], examples=2, device="cpu", torch_threads=1)


@pytest.fixture
def predict(converted, tmp_path):
    """A function that predicts into a folder of this name."""

    def predict_into(name, target="binary", settings=SETTINGS):
        part = ScoredPart(*(converted[store] for store in ("targets", "fields", "splits")), "fluorescence")
        folder = tmp_path / name
        files = PredictionFiles(folder / "predictions.zarr", folder / "predictions.tsv", folder / "examples.npz")
        predict_part(tiny_weights(target), converted["images"], part, settings, files)
        return files

    return predict_into


def contents(files):
    folder = files.index.parent
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def test_a_job_that_waited_for_the_same_predictions_leaves_them_whole(predict, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(ownership, "POLL", 0.02)
    alone = contents(predict("alone"))
    started, waited = threading.Event(), threading.Event()
    predict_transforms, predicted_by = prediction.predict_transforms, []

    def predict_slowly(*arguments):
        predicted_by.append(threading.current_thread())
        started.set()
        assert waited.wait(60)
        return predict_transforms(*arguments)

    monkeypatch.setattr(prediction, "predict_transforms", predict_slowly)
    with ThreadPoolExecutor(2) as jobs:
        first = jobs.submit(predict, "shared")
        assert started.wait(60)
        second = jobs.submit(predict, "shared")
        while "waiting for its owner" not in caplog.text and not second.done():
            threading.Event().wait(0.01)
        waited.set()
        files = first.result()
        second.result()
    assert "finished by the job that this one waited for" in caplog.text
    assert len(set(predicted_by)) == 1
    assert contents(files) == alone
    assert len(read_predictions(files.index)) == 3 and len(read_examples(files.examples)) == 2
    assert store_attributes(files.predictions)["inferences"] == ["deployed"]


def test_what_is_interrupted_before_the_end_has_none_of_its_files(predict, monkeypatch, tmp_path):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prediction, "write_table", fail)
        predict("a")
    assert [path.name for path in (tmp_path / "a").iterdir() if not path.name.startswith(".")] == []
    assert contents(predict("a")) == contents(predict("b"))


@pytest.mark.parametrize("changed", ["weights", "examples"])
def test_old_predictions_are_neither_taken_nor_mixed_with_new_ones(predict, caplog, changed):
    """As when somebody copies them back while the job starts: all three files are those of the new weights."""
    old = contents(predict("a"))
    new = {"target": "distance"} if changed == "weights" else {"settings": replace(SETTINGS, examples=1)}
    files = predict("a", **new)
    found, expected = contents(files), contents(predict("b", **new))
    kept = {name: checksum for name, checksum in found.items() if ".replaced-" in name}
    assert {name: found[name] for name in found.keys() - kept.keys()} == expected
    assert {old[name] for name in ("predictions.tsv", "examples.npz")} - set(expected.values()) <= set(kept.values())
    assert "predictions.zarr.replaced-" in caplog.text
    # Where one of the three is lost or replaced, all are made again.
    files.index.write_text("of other predictions")
    predict("a", **new)
    assert sha256(files.index) == expected["predictions.tsv"]
