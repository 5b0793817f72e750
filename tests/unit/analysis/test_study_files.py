"""Prediction, scoring, tables and figures of a small data set on disk, step by step."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.statistics import crops_as_images, f1_difference
from equinuclei.analysis.tables import Comparison, aggregate_f1
from equinuclei.dataset.parts import DatasetFiles, load_training_parts, part_fields, scored_part
from equinuclei.errors import InputError
from equinuclei.evaluation import prediction, scoring
from equinuclei.evaluation.examples import read_examples, write_examples
from equinuclei.evaluation.prediction import PredictionFiles, PredictionSettings, predict_part
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import RunLabels, otsu_mask, score_otsu, score_predictions
from equinuclei.figures.study import FIGURES, GALLERIES, draw_figures
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import save_weights
from equinuclei.omezarr.stacks import open_stack, store_attributes
from equinuclei.specs import ModelSpec


def scored(converted):
    return ScoredPart(*(converted[name] for name in ("targets", "fields", "splits")), "fluorescence")


def predict(converted, folder, group="p4m", target="binary", **settings):
    spec = ModelSpec("simplified", group, (2, 3), target=target)
    torch.manual_seed(1)  # predicts both classes in every group
    network = build_model(spec)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    save_weights(network, spec, folder / "weights.safetensors")
    predict_part(
        folder / "weights.safetensors",
        converted["images"],
        scored(converted),
        PredictionSettings(
            **(
                {"mirrored": True, "inferences": ["deployed"], "examples": 2, "device": "cpu", "torch_threads": 1}
                | settings
            )
        ),
        PredictionFiles(folder / "predictions.zarr", folder / "predictions.tsv", folder / "examples.npz"),
    )


def score(converted, folder, model="net", **settings):
    score_predictions(
        folder / "predictions.zarr",
        folder / "predictions.tsv",
        scored(converted),
        RunLabels("set", model, seed=0),
        scores=folder / "scores.parquet",
        crop_scores=folder / "crop_scores.parquet",
        **settings,
    )
    return pd.read_parquet(folder / "scores.parquet")


def otsu(converted, folder):
    where = {"dataset": "set", "mirrored": True, "scores": folder / "otsu.parquet"}
    score_otsu(converted["images"], scored(converted), **where)
    return pd.read_parquet(folder / "otsu.parquet")


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_val_may_be_followed_only_beside_a_test_part(converted, tmp_path):
    stores = [converted[name] for name in ("images", "targets", "fields")]
    training, followed = load_training_parts(DatasetFiles(*stores, converted["splits"]), modality="fluorescence")
    assert len(training.images) == 2 and len(followed.images) == 1
    assert training.targets[0].dtype == bool and training.images[0].dtype == np.uint16
    splits = pd.read_csv(converted["splits"], sep="\t").replace({"part": {"test": "train"}})
    splits.to_csv(tmp_path / "splits.tsv", sep="\t", index=False)
    training, followed = load_training_parts(DatasetFiles(*stores, tmp_path / "splits.tsv"), modality="fluorescence")
    assert len(training.images) == 5 and followed is None
    assert scored_part(tmp_path / "splits.tsv") == "val" and scored_part(converted["splits"]) == "test"
    splits.assign(part="train").to_csv(tmp_path / "splits.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="neither a test nor a val part"):
        scored_part(tmp_path / "splits.tsv")


def test_predictions_are_scored_a_row_per_image_and_transform(converted, tmp_path):
    predict(converted, tmp_path)
    scores = score(converted, tmp_path)
    assert len(scores) == 3 * 8 and set(scores["image_id"]) == {"i2", "i3", "i4"}
    totals = scores[["pixel_TP", "pixel_FP", "pixel_FN", "pixel_TN"]].sum(axis=1)
    assert set(totals) == {33 * 40, 36 * 36}
    exact = scores.groupby("image_id")["pixel_TP"].agg(set).map(len)
    assert (exact == 1).all()  # an equivariant network, at odd sizes too


def test_every_inference_mode_is_predicted_and_scored(converted, tmp_path, monkeypatch):
    def turned_about(network, image, elements, device="cpu", inference="deployed"):
        logits = predict_transforms(network, image, elements, device)
        return {e: np.where(part > 0, -1, 1) for e, part in logits.items()} if inference == "tta4" else logits

    monkeypatch.setattr(prediction, "predict_transforms", turned_about)
    predict(converted, tmp_path, inferences=["deployed", "tta4"], mirrored=False)
    assert store_attributes(tmp_path / "predictions.zarr") == {
        "target": "binary",
        "inferences": ["deployed", "tta4"],
        "transforms": ["rotated_000", "rotated_090", "rotated_180", "rotated_270"],
    }
    deployed, tta4 = (
        np.asarray(open_stack(tmp_path / "predictions.zarr", f"{mode}/rotated_090/fluorescence/36x36")[:])
        for mode in ("deployed", "tta4")
    )
    np.testing.assert_array_equal(tta4, 1 - deployed)
    scores = score(converted, tmp_path)
    assert scores.columns[:5].tolist() == ["dataset", "model", "inference", "modality", "seed"]
    keys = ["image_id", "inference", "rotation"]
    assert len(scores) == 3 * 2 * 4 and not scores.duplicated(keys).any()
    modes = {mode: rows.sort_values(keys, ignore_index=True) for mode, rows in scores.groupby("inference")}
    assert modes["deployed"]["pixel_TP"].equals(modes["tta4"]["pixel_FN"])
    # Examples show the network as deployed.
    example = read_examples(tmp_path / "examples.npz")[0]
    row = scores[(scores["image_id"] == example["image_id"]) & (scores["rotation"] == 0)].set_index("inference")
    assert (example["probability"] > 0.5).sum() == row.loc["deployed", ["pixel_TP", "pixel_FP"]].sum()


def two_touching(target, shape):
    """Maps of two nuclei side by side."""
    inside, middle = np.zeros(shape, bool), np.zeros(shape, bool)
    inside[5:28, 5:30] = True
    middle[6:27, 6:16] = middle[6:27, 18:29] = True
    if target == "distance":
        return np.stack([np.where(inside, 1, -1), np.where(middle, 0.9, 0.1)]).astype(np.float32)
    return np.stack([~inside, inside & ~middle, middle]).astype(np.float32)


@pytest.mark.parametrize("target", ["distance", "three_class"])
def test_codes_of_every_target_are_stored_and_scored(converted, tmp_path, monkeypatch, target):
    def made(network, image, elements, device="cpu", inference="deployed"):
        return {element: two_touching(target, image.shape) for element in elements}

    monkeypatch.setattr(prediction, "predict_transforms", made)
    predict(converted, tmp_path, target=target, mirrored=False)
    assert store_attributes(tmp_path / "predictions.zarr")["target"] == target
    codes = np.asarray(open_stack(tmp_path / "predictions.zarr", "deployed/rotated_090/fluorescence/36x36")[0])
    assert np.unique(codes).tolist() == {"distance": [0, 26, 230], "three_class": [0, 1, 2]}[target]
    found = {}
    for method in (None, "components", "watershed"):
        for border_as in ("nucleus", "background"):
            scores = score(converted, tmp_path, instances=method, border_as=border_as)
            objects, pixels = (scores[f"{name}_TP"] + scores[f"{name}_FP"] for name in ("object50", "pixel"))
            assert len(scores) == 3 * 4 and objects.nunique() == pixels.nunique() == 1
            found[method, border_as] = objects.iloc[0], pixels.iloc[0]
    whole, middle = 23 * 25, 21 * 21
    if target == "distance":  # whose truth holds a border or not; the network has learnt it
        assert found == {(method, border): (1 if method == "components" else 2, whole) for method, border in found}
    else:
        assert found == {(method, border): (2, whole if border == "nucleus" else middle) for method, border in found}


def test_a_plain_network_is_scored_rotation_by_rotation(converted, tmp_path):
    predict(converted, tmp_path, group="trivial", mirrored=False)
    scores = score(converted, tmp_path)
    assert len(scores) == 3 * 4 and not scores["mirrored"].any()
    assert (scores.groupby("image_id")[["pixel_TP", "pixel_FP"]].nunique().max(axis=1) > 1).any()
    assert scores.loc[scores["rotation"] == 0, "agreement"].eq(1).all()


def test_an_interrupted_prediction_keeps_what_was_finished(converted, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    whole.mkdir()
    predict(converted, whole, inferences=["deployed", "exact"])
    (tmp_path / "cut").mkdir()
    calls = []

    def cut(network, image, elements, device="cpu", inference="deployed"):
        calls.append((image.shape, inference))
        if calls[-1] == ((36, 36), "exact") and not down:
            down.append(True)
            raise OSError("the node went down")
        return predict_transforms(network, image, elements, device, inference)

    down = []
    monkeypatch.setattr(prediction, "predict_transforms", cut)
    (tmp_path / "cut" / "weights.safetensors").write_bytes((whole / "weights.safetensors").read_bytes())
    monkeypatch.setattr(f"{__name__}.save_weights", lambda *_: None)
    with pytest.raises(OSError, match="node"):
        predict(converted, tmp_path / "cut", inferences=["deployed", "exact"])
    assert not (tmp_path / "cut" / "predictions.zarr").exists()
    before = len(calls)
    predict(converted, tmp_path / "cut", inferences=["deployed", "exact"])
    # One mode and an array of the other were finished: the array that was cut is predicted again, and the examples.
    examples = [((36, 36), "deployed"), ((33, 40), "deployed")]
    assert calls[before:] == [((36, 36), "exact")] * 2 + examples
    assert score(converted, tmp_path / "cut").equals(score(converted, whole))


def test_otsu_is_the_floor(converted, tmp_path):
    scores = otsu(converted, tmp_path)
    assert len(scores) == 3 * 8
    nuclei = scores[scores["image_id"] != "i4"]
    assert nuclei["pixel_F1"].eq(1).all() and nuclei["model"].eq("otsu").all()
    assert scores["inference"].eq("deployed").all()
    assert scores["agreement"].eq(1).all()
    assert not otsu_mask(np.full((3, 3), 5)).any()


def test_tables_and_figures_are_written(converted, tmp_path, caplog):
    predict(converted, tmp_path, inferences=["deployed", "exact", "tta4"])
    scores = score(converted, tmp_path)
    scores.to_parquet(tmp_path / "scores.parquet")
    otsu(converted, tmp_path)
    names = {"dataset": "set", "model": "net", "modality": "fluorescence", "seed": 0}
    run = names | {"parameters": 10, "gflops": 1.5, "train_seconds": 2.0, "train_cpu_seconds": 3.0}
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "history.csv").write_text("epoch,train_loss,train_F1\n1,0.5,0.1\n2,0.4,0.2\n")
    scored = [tmp_path / "scores.parquet", tmp_path / "otsu.parquet"]
    declared = [{"a": "net", "a_inference": "deployed", "b": "otsu", "b_inference": "deployed", "measure": "pixel_F1"}]
    declared.append({**declared[0], "a_inference": "tta4", "measure": "pixel_difference"})
    study = StudyFolder(
        tables=tmp_path,
        scores=scored,
        runs=[tmp_path / "run.json"],
        crop_scores=[tmp_path / "crop_scores.parquet"],
        histories=[tmp_path / "history.csv"],
        examples=[tmp_path / "examples.npz"],
    )
    aggregate_f1(study, Comparison(["net"], twins={"net": "net"}, contrasts=declared, equivariant=["net"]))
    f1 = study.table("f1")
    assert f1["model"].tolist() == ["net"] * 3 + ["otsu"] and f1["parameters"].iloc[0] == 10
    assert f1["gflops"].tolist()[:3] == [1.5, 1.5, 6]
    assert not warnings_of(caplog)
    by_modality = (tmp_path / "summary.txt").read_text().split("\n\n")
    assert [sum(line.startswith("net ") for line in part.splitlines()) for part in by_modality[:2]] == [2, 6]
    assert "f1-score_difference" in by_modality[1] and "exact " not in by_modality[0]
    contrasts = study.table("contrasts")
    assert contrasts["kind"].eq("declared").sum() == 2 and len(contrasts) == 3 * 10
    assert contrasts["note"].iloc[1] == "a and b: zero by construction"
    shown = by_modality[2].splitlines()
    assert shown[0] == "set, fluorescence: declared contrasts" and shown[3].startswith("net ")
    assert shown[4].startswith("net, tta4 ") and shown[4].endswith("a and b: zero by construction")
    assert "one seed" in shown[-1]
    assert study.table("contrasts_by_cell_line")["cell_line"].nunique() == 2
    assert set(study.table("intervals")["model"]) == {"net", "otsu"}
    assert study.table("f1_difference_crops").empty  # the images are smaller
    assert study.table("difference_reduction")["inference"].tolist() == ["exact", "tta4"] * 2
    figures, galleries = [tmp_path / f"{name}.png" for name in FIGURES], [tmp_path / name for name in GALLERIES]
    draw_figures(study, ["net"], figures=figures, galleries=galleries)
    names = ["contours/fluorescence_net", "masks/fluorescence", "rotations/fluorescence"]
    assert (
        sorted(str(path.relative_to(tmp_path))[:-4] for folder in galleries for path in folder.glob("*.png")) == names
    )
    for path in [*figures, *(tmp_path / f"{name}.png" for name in names)]:
        assert path.stat().st_size > 5000 and path.with_suffix(".pdf").exists()


def test_large_images_are_scored_on_crops_too(converted, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "CROP", 16)
    assert [(y.start, x.start) for y, x in scoring.crop_windows(36, 40)] == [(2, 4), (2, 20), (18, 4), (18, 20)]
    assert scoring.crop_windows(15, 64) == []
    predict(converted, tmp_path, group="trivial", mirrored=True)
    scores, crops = score(converted, tmp_path), pd.read_parquet(tmp_path / "crop_scores.parquet")
    assert len(crops) == 3 * 4 * 4 and not crops["mirrored"].any()
    assert not crops.duplicated(["image_id", "crop", "rotation"]).any()
    assert crops[["pixel_TP", "pixel_FP", "pixel_FN"]].sum(axis=1).max() <= 16 * 16
    # The middle of the image: what its crops hold is part of what the image holds, and nearly all of it here.
    of_image = crops.groupby(["image_id", "rotation"])[["pixel_TP", "pixel_FN"]].sum().sum(axis=1)
    whole = scores[~scores["mirrored"]].set_index(["image_id", "rotation"])[["pixel_TP", "pixel_FN"]].sum(axis=1)
    assert (of_image <= whole).all() and of_image.sum() > 0.9 * whole.sum()
    differences = f1_difference(crops_as_images(crops))
    assert differences["image_id"].str.contains(", crop ").all() and set(differences["rotation"]) == {90, 180, 270}


def test_examples_spread_over_the_cell_lines(converted, tmp_path):
    predict(converted, tmp_path)
    examples = read_examples(tmp_path / "examples.npz")
    assert sorted(e["cell_line"] for e in examples) == ["a", "b"]
    for example in examples:
        shapes = {example[name].shape for name in ("image", "truth", "classes", "instances", "probability_sum")}
        assert shapes == {example["probability"].shape}
        assert ((example["classes"] > 0) == example["truth"]).all() and (
            (example["instances"] > 0) == example["truth"]
        ).all()
        # The network is equivariant: its predictions of the four rotations agree.
        np.testing.assert_allclose(example["probability_sum"], 4 * example["probability"], atol=1e-5)
    write_examples(tmp_path / "again.npz", examples)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "examples.npz").read_bytes()


def test_a_modality_without_images_is_told(converted):
    with pytest.raises(InputError, match="no images of modality 'brightfield' in 'test'; there are fluorescence"):
        part_fields(converted["fields"], converted["splits"], modality="brightfield", part="test")


def test_a_broken_record_is_told(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json.*model is trained again"):
        _ = StudyFolder(tmp_path, runs=[tmp_path / "run.json"]).records
