"""Prediction, scoring, tables and figures of a small data set on disk, step by step."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei.dataset import binarize_masks, convert_dataset
from equinuclei.errors import InputError
from equinuclei.examples import read_examples, write_examples
from equinuclei.figure_files import draw_figures
from equinuclei.models import ModelSpec, build_model
from equinuclei.models.checkpoint import save_weights
from equinuclei.parts import load_training_parts, part_fields, scored_part
from equinuclei.prediction import predict_part
from equinuclei.scoring import otsu_mask, score_otsu, score_predictions
from equinuclei.splits import split_dataset, write_splits
from equinuclei.tables import aggregate_f1, read_runs

MASK = {"kind": "binary", "border_as": "nucleus"}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Six images of two odd shapes, one of them without a nucleus: paths by name."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for number in range(6):
        shape = (33, 40) if number % 2 else (36, 36)
        y, x = np.mgrid[: shape[0], : shape[1]]
        mask = ((y - 15) ** 2 + (x - 18) ** 2 < 50) & (number != 4)
        image = rng.normal(1000, 50, shape) + 2000 * mask
        tifffile.imwrite(root / "images" / f"i{number}.tif", image.astype(np.uint16))
        tifffile.imwrite(root / "masks" / f"i{number}.tif", mask.astype(np.uint8))
    parts = ["train", "train", "test", "test", "test", "val"]
    rows = "".join(f"i{number},{part},{'ab'[number % 2]}\n" for number, part in enumerate(parts))
    (root / "split.csv").write_text(f"name,split,cell_line\n{rows}")
    paths = {name: root / f"{name}.zarr" for name in ("images", "annotations", "targets")}
    paths |= {"fields": root / "fields.tsv", "splits": root / "splits.tsv", "root": root}
    source = {"layout": "folder", "path": str(root), "modality": "fluorescence", "mask": MASK}
    convert_dataset(source, paths["images"], paths["annotations"], paths["fields"], workers=1)
    binarize_masks(paths["annotations"], paths["fields"], paths["targets"], MASK, workers=1)
    fields = pd.read_csv(paths["fields"], sep="\t", dtype=str, keep_default_na=False)
    write_splits(split_dataset(fields, [1.0, 0.0, 0.0], 0), paths["splits"])
    return paths


def predict(converted, folder, group="p4m", **settings):
    spec = ModelSpec("simplified", group, (2, 3))
    network = build_model(spec)
    network.set_prior(0.5)
    save_weights(network, spec, folder / "weights.safetensors")
    predict_part(
        folder / "weights.safetensors",
        **{name: converted[name] for name in ("images", "targets", "fields", "splits")},
        **(
            {"modality": "fluorescence", "mirrored": True, "examples": 2, "device": "cpu", "torch_threads": 1}
            | settings
        ),
        predictions=folder / "predictions.zarr",
        index=folder / "predictions.tsv",
        examples_file=folder / "examples.npz",
    )


def score(converted, folder, model="net"):
    labels = {"dataset": "set", "model": model, "modality": "fluorescence", "seed": 0}
    stores = {name: converted[name] for name in ("targets", "fields", "splits")}
    score_predictions(
        folder / "predictions.zarr",
        index=folder / "predictions.tsv",
        labels=labels,
        scores=folder / "scores.parquet",
        **stores,
    )
    return pd.read_parquet(folder / "scores.parquet")


def otsu(converted, folder):
    stores = {name: converted[name] for name in ("targets", "fields", "splits")}
    where = {"dataset": "set", "modality": "fluorescence", "mirrored": True, "scores": folder / "otsu.parquet"}
    score_otsu(converted["images"], **stores, **where)
    return pd.read_parquet(folder / "otsu.parquet")


def test_val_may_be_followed_only_beside_a_test_part(converted, tmp_path):
    stores = [converted[name] for name in ("images", "targets", "fields")]
    training, followed = load_training_parts(*stores, converted["splits"], modality="fluorescence")
    assert len(training.images) == 2 and len(followed.images) == 1
    assert training.targets[0].dtype == bool and training.images[0].dtype == np.uint16
    splits = pd.read_csv(converted["splits"], sep="\t").replace({"part": {"test": "train"}})
    splits.to_csv(tmp_path / "splits.tsv", sep="\t", index=False)
    training, followed = load_training_parts(*stores, tmp_path / "splits.tsv", modality="fluorescence")
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


def test_a_plain_network_is_scored_rotation_by_rotation(converted, tmp_path):
    predict(converted, tmp_path, group="trivial", mirrored=False)
    scores = score(converted, tmp_path)
    assert len(scores) == 3 * 4 and not scores["mirrored"].any()
    assert (scores.groupby("image_id")[["pixel_TP", "pixel_FP"]].nunique().max(axis=1) > 1).any()
    assert scores.loc[scores["rotation"] == 0, "agreement"].eq(1).all()


def test_an_interrupted_prediction_keeps_what_was_finished(converted, tmp_path, monkeypatch):
    from equinuclei import prediction

    whole = tmp_path / "whole"
    whole.mkdir()
    predict(converted, whole)
    (tmp_path / "cut").mkdir()
    calls = []

    def cut(network, image, elements):
        calls.append(image.shape)
        if image.shape == (36, 36) and len(calls) < 5:
            raise OSError("the node went down")
        return original(network, image, elements)

    original = prediction.predict_transforms
    monkeypatch.setattr(prediction, "predict_transforms", cut)
    (tmp_path / "cut" / "weights.safetensors").write_bytes((whole / "weights.safetensors").read_bytes())
    monkeypatch.setattr("test_study_files.save_weights", lambda *_: None)
    with pytest.raises(OSError, match="node"):
        predict(converted, tmp_path / "cut")
    assert not (tmp_path / "cut" / "predictions.zarr").exists()
    before = len(calls)
    calls += [None] * 5
    predict(converted, tmp_path / "cut")
    again = [shape for shape in calls[before + 5 :] if shape == (33, 40)]
    assert len(again) == 1  # for the example alone: the finished array is not predicted again
    assert score(converted, tmp_path / "cut").equals(score(converted, whole))


def test_otsu_is_the_floor(converted, tmp_path):
    scores = otsu(converted, tmp_path)
    assert len(scores) == 3 * 8
    nuclei = scores[scores["image_id"] != "i4"]
    assert nuclei["pixel_F1"].eq(1).all() and nuclei["model"].eq("otsu").all()
    assert scores["agreement"].eq(1).all()
    assert not otsu_mask(np.full((3, 3), 5)).any()


def test_tables_and_figures_are_written(converted, tmp_path, caplog):
    predict(converted, tmp_path)
    scores = score(converted, tmp_path)
    scores = scores.assign(pixel_TP=0, pixel_FP=0)
    scores.to_parquet(tmp_path / "scores.parquet")
    otsu(converted, tmp_path)
    names = {"dataset": "set", "model": "net", "modality": "fluorescence", "seed": 0}
    run = names | {"parameters": 10, "gflops": 1.5, "train_seconds": 2.0}
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "history.csv").write_text("epoch,train_loss,train_F1\n1,0.5,0.1\n2,0.4,0.2\n")
    tables = {name: tmp_path / f"{name}.tsv" for name in ("f1", "by_cell_line", "difference")}
    tables |= {"differences": tmp_path / "differences.parquet", "summary": tmp_path / "summary.txt"}
    scored = [tmp_path / "scores.parquet", tmp_path / "otsu.parquet"]
    aggregate_f1(scored, runs=[tmp_path / "run.json"], models=["net"], **tables)
    f1 = pd.read_csv(tables["f1"], sep="\t")
    assert f1["model"].tolist() == ["net", "otsu"] and f1["parameters"].iloc[0] == 10
    assert "net predicts no nucleus in any fluorescence image" in caplog.text
    assert "f1-score_difference" in tables["summary"].read_text()
    figures = {f"{name}_figure": tmp_path / f"{name}.png" for name in ("f1", "difference", "curves")}
    draw_figures(
        f1=tables["f1"],
        difference=tables["difference"],
        differences=tables["differences"],
        scores=scored,
        histories=[tmp_path / "history.csv"],
        runs=[tmp_path / "run.json"],
        examples=[tmp_path / "examples.npz"],
        models=["net"],
        contours_folder=tmp_path / "contours",
        **figures,
    )
    for path in [*figures.values(), tmp_path / "contours" / "fluorescence_net.png"]:
        assert path.stat().st_size > 5000 and path.with_suffix(".pdf").exists()


def test_examples_spread_over_the_cell_lines(converted, tmp_path):
    predict(converted, tmp_path)
    examples = read_examples(tmp_path / "examples.npz")
    assert sorted(e["cell_line"] for e in examples) == ["a", "b"]
    assert all(e["image"].shape == e["truth"].shape == e["probability"].shape for e in examples)
    write_examples(tmp_path / "again.npz", examples)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "examples.npz").read_bytes()


def test_a_modality_without_images_is_told(converted):
    with pytest.raises(InputError, match="no images of modality 'brightfield' in 'test'; there are fluorescence"):
        part_fields(converted["fields"], converted["splits"], modality="brightfield", part="test")


def test_a_broken_record_is_told(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json.*train the model again"):
        read_runs([tmp_path / "run.json"])
