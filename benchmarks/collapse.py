"""Do short trainings of narrow equivariant networks learn, where their plain twins do?

    python -m benchmarks.collapse ../shared/data/dsb2018_fluo --folder collapse [--workers 2] [--steps 72 250 500] ...

A training collapses if its network finds nothing, or nucleus everywhere, in images that it was not trained on
(`pixel_metrics.constant_prediction`). Each of the trials (a subset of the training images, a learning rate, a number of
steps, an edge of the crops) trains every model and its plain twin as the demo does, in up to five attempts. The table
has a row per model: the trials in which the plain twin learnt, how many of these collapsed in their first attempt and
in the end, and mean F1 by pixels, of all and of those whose first attempt learnt. Finished trainings in the folder are
not repeated; an interrupted one goes on.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from equinuclei.dataset.parts import Part
from equinuclei.images.pixel_metrics import constant_prediction, pixel_scores
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.targets import target_of
from equinuclei.runtime.files import write_json
from equinuclei.runtime.provenance import read_run
from equinuclei.sources import read_image, read_mask, read_source
from equinuclei.specs import ModelSpec, resolve_spec
from equinuclei.symmetry import IDENTITY
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.train import TrainingFiles, train_model

MODELS: dict[str, tuple[ModelSpec, str]] = {
    "simplified": (resolve_spec("simplified"), "simplified"),
    "simplified-p4": (resolve_spec("simplified-p4"), "simplified"),
    "simplified-p4m": (resolve_spec("simplified-p4m"), "simplified"),
    "unet": (ModelSpec("unet", "trivial", (8,) * 4), "unet"),
    "unet-p4": (ModelSpec("unet", "p4", (4,) * 4), "unet"),
}
"""Model -> its spec and its plain twin. The U-Net has a width that two cores train in seconds per step."""

SCORED = 12
"""Images that a network is scored on."""

LEARNT = 0.5
"""F1 of a twin that has learnt."""


@dataclass(frozen=True)
class Trial:
    """One training: its model, and what the trials of all models have in common."""

    model: str
    subset: int
    images: int
    learning_rate: float
    steps: int
    crop: int

    @property
    def name(self) -> str:
        return "_".join(str(value) for value in asdict(self).values())


@cache
def images_of(folder: Path) -> pd.DataFrame:
    """The images of a data set: image_id, cell_line, group, split, image, mask."""
    table = read_source({"layout": "folder", "path": str(folder), "modality": "fluorescence"})
    return table.sort_values("image_id", ignore_index=True)


def load(rows: pd.DataFrame) -> Part:
    """Images and binary masks of some rows."""
    images = [read_image(path) for path in rows["image"]]
    masks = [read_mask(path) > 0 for path in rows["mask"]]
    fields = rows.assign(image_sha256=rows["image_id"], mask_sha256=rows["image_id"]).reset_index(drop=True)
    return Part(fields, images, masks)


def run(data: Path, folder: Path, trial: Trial) -> dict[str, Any]:
    """Train and score one network, or read what an earlier call found."""
    done = folder / f"{trial.name}.json"
    if done.is_file():
        return json.loads(done.read_text())
    torch.set_num_threads(1)
    logging.getLogger("equinuclei").setLevel(logging.ERROR)
    table = images_of(data)
    learnt_from = table["split"] == "train"
    part = load(table[learnt_from].sample(trial.images, random_state=trial.subset).sort_values("image_id"))
    batch = 4
    settings = TrainingSettings(
        epochs=max(1, round(trial.steps / -(-trial.images // batch))), crop=trial.crop, sampling="images", zoom=1.0,
        photometric=False, batch_size=batch, learning_rate=trial.learning_rate, schedule="cosine", warmup=0.1,
        gradient_clip=0.5, attempts=5, precision="float32", device="cpu", devices=1,
        torch_threads=1, deterministic=True,
    )  # fmt: skip
    files = TrainingFiles.inside(folder / trial.name)
    train_model(MODELS[trial.model][0], part, None, settings, seed=trial.subset, files=files)
    attempts = read_run(files.run)["attempts"]
    scores = score(files.weights, load(table[~learnt_from].sample(SCORED, random_state=0)))
    row = asdict(trial) | {
        "F1": scores["F1"],
        "collapsed": constant_prediction(*(int(scores[count]) for count in ("TP", "FP", "FN", "TN"))),
        "first_collapsed": attempts[0]["collapsed"] or "",
        "attempts": len(attempts),
        "seconds": sum(attempt["seconds"] for attempt in attempts),
    }
    write_json(done, row)
    return row


def score(weights: Path, part: Part) -> Mapping[str, int | float]:
    """Pixel scores of a network, over all images together."""
    network = load_model(weights)
    maps = [predict_transforms(network, image, [IDENTITY], "cpu")[IDENTITY] for image in part.images]
    found = [target_of("binary").codes(of_image).ravel() > 0 for of_image in maps]
    return pixel_scores(np.concatenate([mask.ravel() for mask in part.targets]), np.concatenate(found))


def collapse_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per model: how many trainings collapsed in those trials in which the plain twin learnt.

    rows : of `run`. Returns model, trials; collapsed_first and collapsed, the trainings that collapsed in their first
    attempt and in the end; F1, mean over the trials; F1_first, mean over those whose first attempt learnt.
    """
    shared = ["subset", "images", "learning_rate", "steps", "crop"]
    twins = rows[rows["F1"] >= LEARNT].to_dict("records")
    learnt = {(row["model"], *(row[name] for name in shared)) for row in twins}
    kept = [(MODELS[row["model"]][1], *(row[name] for name in shared)) in learnt for row in rows.to_dict("records")]
    told = rows[kept].assign(collapsed=rows["collapsed"] != "")
    told["first"] = (told["first_collapsed"] != "") | told["collapsed"]
    told["F1_first"] = told["F1"].where(~told["first"])
    grouped = told.groupby("model")
    return grouped.agg(
        trials=("F1", "size"),
        collapsed_first=("first", "sum"),
        collapsed=("collapsed", "sum"),
        F1=("F1", "mean"),
        F1_first=("F1_first", "mean"),
    ).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of images and masks with a split")
    parser.add_argument("--folder", type=Path, required=True, help="of finished and unfinished trainings")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.002, 0.003])
    parser.add_argument("--steps", nargs="+", type=int, default=[72, 250, 500])
    parser.add_argument("--crops", nargs="+", type=int, default=[96, 128])
    parser.add_argument("--subsets", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.table:
        rows = [json.loads(path.read_text()) for path in sorted(arguments.folder.glob("*.json"))]
        print(collapse_table(pd.DataFrame(rows)).round(3).to_string(index=False))
        return
    trials = [
        Trial(model, subset, (24, 32, 40)[subset % 3], rate, steps, crop)
        for steps, crop, rate, subset, model in product(
            arguments.steps, arguments.crops, arguments.rates[::-1], arguments.subsets, arguments.models
        )
    ]
    rows = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for row in pool.map(run, *zip(*((arguments.data, arguments.folder, trial) for trial in trials), strict=True)):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    print(collapse_table(pd.DataFrame(rows)).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
