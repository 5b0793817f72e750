"""Moved predictions and their scores: from networks and methods whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from equinuclei.dataset.convert import ConvertedFiles, binarize_masks, convert_dataset
from equinuclei.dataset.splits import split_dataset, write_splits
from equinuclei.evaluation import prediction
from equinuclei.evaluation.moved import COLUMNS, score_moves, score_otsu_moves
from equinuclei.evaluation.moves import SHIFTS, TURNS
from equinuclei.evaluation.prediction import PredictionFiles, PredictionSettings, predict_part
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import RunLabels
from equinuclei.networks.checkpoint import load_model
from equinuclei.omezarr.stacks import open_stack, read_row, store_attributes
from equinuclei.simulation.fields import simulate_field
from support.tiny_model import tiny_weights

MASK = {"kind": "instances", "border_as": "nucleus"}
SETTINGS = PredictionSettings(
    mirrored=False, inferences=["deployed"], examples=1, device="cpu", torch_threads=1, moves=True
)
COUNTS = [column for column in COLUMNS if f"{column}_reference" in COLUMNS]
SMALL = (60, 90)
"""An image of this shape is too small to be shifted."""


class Threshold(torch.nn.Module):
    """A network of no reach: exactly equivariant under shifts, as it looks at one pixel at a time."""

    input_multiple, target, normalization = 4, "binary", "standard"

    def forward(self, images):
        return images - 0.5


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Three simulated fields, one of them small: the folder of a converted data set."""
    root = tmp_path_factory.mktemp("fields")
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    rows = "name,split\n"
    for number, shape in enumerate(((128, 110), (128, 110), SMALL)):
        field = simulate_field("HeLa", number, *shape)
        tifffile.imwrite(root / "images" / f"i{number}.tif", field.images["fluorescence"])
        tifffile.imwrite(root / "masks" / f"i{number}.tif", field.instances.astype(np.uint16))
        rows += f"i{number},test\n"
    (root / "split.csv").write_text(rows)
    source = {"layout": "folder", "path": str(root), "modality": "fluorescence", "mask": MASK}
    files = ConvertedFiles(root / "images.zarr", root / "annotations.zarr", root / "fields.tsv")
    convert_dataset(source, files, workers=1)
    binarize_masks(root / "annotations.zarr", root / "fields.tsv", root / "targets.zarr", MASK, workers=1)
    table = pd.read_csv(root / "fields.tsv", sep="\t", dtype=str, keep_default_na=False)
    write_splits(split_dataset(table, [1.0, 0.0, 0.0], 0), root / "splits.tsv")
    return root


@pytest.fixture(scope="module")
def part(fields):
    return ScoredPart(fields / "targets.zarr", fields / "fields.tsv", fields / "splits.tsv", "fluorescence")


def moved(fields, part, folder):
    """Predict and score the fields: the table of scores, and the store of predictions."""
    files = PredictionFiles(folder / "predictions.zarr", folder / "predictions.tsv", folder / "examples.npz")
    predict_part(tiny_weights(), fields / "images.zarr", part, SETTINGS, files)
    scores = folder / "turns_and_shifts.parquet"
    score_moves(files.predictions, files.index, part, RunLabels("demo", "net", 0), scores=scores)
    return pd.read_parquet(scores), files.predictions


@pytest.fixture(scope="module")
def of_tiny(fields, part, tmp_path_factory):
    """The table and the predictions of a small network, equivariant under p4, that pools by 2."""
    return moved(fields, part, tmp_path_factory.mktemp("tiny"))


def moves(table, image_id):
    return table.loc[table["image_id"] == image_id, ["move", "amount"]].to_records(index=False).tolist()


def changed(table):
    """Whether counts differ from those of the image as it is: bool, a row per move."""
    return (table[COUNTS].to_numpy() != table[[f"{count}_reference" for count in COUNTS]].to_numpy()).any(axis=1)


def test_every_move_of_every_image_has_a_row(of_tiny):
    table, predictions = of_tiny
    assert tuple(table.columns) == COLUMNS
    turns = [("turn", degrees) for degrees in (*TURNS, 90)]
    assert moves(table, "i0") == turns + [("shift", shift) for shift in SHIFTS]
    assert moves(table, "i2") == turns
    assert set(table["inference"]) == {"deployed"} and set(table["part"]) == {"test"}
    made = store_attributes(predictions)
    assert made["moves"] == {"turns": list(TURNS), "shifts": list(SHIFTS)}
    of_turns = table[table["move"] == "turn"].groupby("image_id")
    # The image as it is, is the same beside every turn.
    assert of_turns[[f"{count}_reference" for count in COUNTS]].nunique().eq(1).all(axis=None)
    quarter = table[(table["move"] == "turn") & (table["amount"] == 90)]
    assert not changed(quarter).any()  # the tiny network is equivariant under p4
    assert changed(table[(table["move"] == "turn") & (table["amount"] != 90)]).any()


def test_a_shifted_prediction_is_that_of_the_crop_at_its_place(of_tiny):
    _, predictions = of_tiny
    stored = read_row(open_stack(predictions, "deployed/shifted_15/fluorescence/128x110"), 0)
    assert stored.shape == (128, 110) and stored.any()
    # 128 - 32 and 110 - 32, down to multiples of 32; in the middle of what is left.
    inside = (slice(15, 15 + 96), slice(7 + 15, 7 + 15 + 64))
    outside = stored.copy()
    outside[inside] = 0
    assert not outside.any() and stored[inside].any()


def test_a_network_that_sees_one_pixel_does_not_change_when_it_is_shifted(fields, part, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "load_model", lambda *_: Threshold())
    monkeypatch.setattr(prediction, "fold", lambda network: network)
    table, _ = moved(fields, part, tmp_path)
    shifted = table[table["move"] == "shift"]
    assert len(shifted) == 2 * len(SHIFTS) and not changed(shifted).any()
    assert (shifted["pixel_TP"] > 0).any() and (shifted["object50_TP"] > 0).any()


def test_a_network_that_pools_changes_when_it_is_shifted_off_its_grid(of_tiny):
    table, _ = of_tiny
    assert load_model(tiny_weights()).input_multiple == 2
    shifted = table[table["move"] == "shift"]
    assert changed(shifted[shifted["amount"] == 1]).any()


def test_otsus_threshold_changes_by_interpolation_alone(fields, part, tmp_path):
    scores = tmp_path / "otsu.parquet"
    score_otsu_moves(fields / "images.zarr", part, dataset="demo", scores=scores)
    table = pd.read_parquet(scores)
    assert set(table["model"]) == {"otsu"} and len(table) == 2 * (4 + len(SHIFTS)) + 4
    interpolated = (table["move"] == "turn") & (table["amount"] != 90)
    assert not changed(table[~interpolated]).any() and changed(table[interpolated]).any()


def test_without_moves_nothing_more_is_predicted(fields, part, tmp_path):
    files = PredictionFiles(tmp_path / "a.zarr", tmp_path / "a.tsv", tmp_path / "a.npz")
    settings = PredictionSettings(mirrored=False, inferences=["deployed"], examples=1, device="cpu", torch_threads=1)
    predict_part(tiny_weights(), fields / "images.zarr", part, settings, files)
    assert "moves" not in store_attributes(files.predictions)
    assert sorted(path.name for path in (files.predictions / "deployed").iterdir() if path.is_dir()) == [
        f"rotated_{degrees:03d}" for degrees in (0, 90, 180, 270)
    ]
