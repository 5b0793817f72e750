"""How well nuclei are found by a way of training, on groups held out of the training part: no scored image takes part.

    snakemake train_shipped --configfile config/shipped_fluorescence.yaml --until binarize_masks split_dataset
    python benchmarks/recipes.py config/shipped_fluorescence.yaml --model diameter=24 --training epochs=30 zoom=2

trains the first model of the configuration, changed as told, on four fifths of the groups of its first data set, and
prints AP = TP / (TP + FP + FN) at an intersection over union of 0.5 and 0.7, mean over the images of the others: as
they come, magnified by the size of the nuclei that are found in them, by that of their true nuclei, and for several
values of `segmentation.SIZE_TOLERANCE`; and per band of sizes.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from equinuclei.accuracy import SIZES
from equinuclei.folding import fold
from equinuclei.metrics import object_scores
from equinuclei.models import resolve_spec
from equinuclei.models.checkpoint import load_model
from equinuclei.models.network import SegmentationNetwork
from equinuclei.parts import Part, iterate_images, load_part
from equinuclei.rescaling import magnification, typical_diameter
from equinuclei.segmentation import segment_image
from equinuclei.training import TrainingSettings, train_model
from equinuclei.tuning import hold_out

THRESHOLDS = (0.5, 0.7)
TOLERANCES = (1.0, 1.25, 1.5, 2.0, 3.0)
CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"


def train(part: Part, spec: object, settings: TrainingSettings, folder: Path) -> SegmentationNetwork:
    """The network, folded, trained on a part, or as an earlier run with the same arguments left it."""
    files = {name: folder / name for name in ("weights", "history", "run")}
    folder.mkdir(parents=True, exist_ok=True)
    if not files["weights"].is_file():
        train_model(spec, part, None, settings, seed=0, **files)
    return fold(load_model(files["weights"]))


def score(network: SegmentationNetwork, rows: pd.DataFrame, **stores: Path) -> pd.DataFrame:
    """A row per image: its true and its found diameter (pixels), and AP per threshold and way of magnifying."""
    table = []
    for row, stored in iterate_images(rows, **stores):
        image, truth = stored["image"], stored["truth"].astype(np.int64)
        as_it_is, _ = segment_image(network, image, diameter=None)
        sizes = {"as they come": np.nan, "found size": typical_diameter(as_it_is), "true size": typical_diameter(truth)}
        areas = np.bincount(truth.ravel())[1:]
        of_image = {"image_id": row.image_id, "median_area": np.median(areas[areas > 0]) if areas.any() else np.nan}
        for way, diameter in sizes.items():
            again = network.diameter is not None and not np.isnan(diameter)
            labels = segment_image(network, image, diameter=diameter)[0] if again else as_it_is
            of_image[f"{way} factor"] = magnification(diameter, network.diameter) if again else 1.0
            for scores in object_scores(truth, labels, THRESHOLDS).to_dict("records"):
                of_image[f"{way} AP{100 * scores['threshold']:g}"] = scores["AP"]
        table.append(of_image)
    return pd.DataFrame(table)


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AP, in rows per way of magnifying and tolerance, and columns per threshold and band of sizes."""
    ways = {
        way: [table[f"{way} AP{100 * t:g}"] for t in THRESHOLDS] for way in ("as they come", "found size", "true size")
    }
    factor = table["found size factor"]
    for tolerance in TOLERANCES[1:]:
        near = factor.between(1 / tolerance, tolerance)
        ways[f"found size, beyond {tolerance:g}"] = [
            own.where(~near, plain) for own, plain in zip(ways["found size"], ways["as they come"], strict=True)
        ]
    bands = pd.cut(table["median_area"], SIZES)
    means = {}
    for way, columns in ways.items():
        scores = pd.concat(columns, axis="columns", keys=[f"AP{100 * t:g}" for t in THRESHOLDS])
        means[way] = pd.concat([scores.mean(), scores.groupby(bands, observed=True)["AP50"].mean().rename(str)])
    return pd.DataFrame(means).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--model", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the model to change")
    parser.add_argument("--training", nargs="*", default=[], metavar="KEY=VALUE", help="settings of training to change")
    parser.add_argument("--output", type=Path, required=True, help="folder for the weights and the table of images")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    changes = [
        {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in pairs)}
        for pairs in (arguments.model, arguments.training)
    ]
    defaults, config = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONFIG, arguments.config))
    spec = resolve_spec({key: value for key, value in config["models"][0].items() if key != "name"} | changes[0])
    training = defaults["training"] | config["training"] | changes[1]
    settings = TrainingSettings.from_mapping(
        {k: v for k, v in training.items() if k in TrainingSettings.__annotations__}
    )
    dataset = config["datasets"][0]
    results = arguments.results / dataset["name"]
    images, targets, *tables = (results / name for name in ("images.zarr", "targets.zarr", "fields.tsv", "splits.tsv"))
    part = load_part(
        images, targets, *tables, modality=dataset["modalities"][0], part="train", target=spec.target,
        diameters=spec.diameter is not None,
    )  # fmt: skip
    held = hold_out(part.fields, seed=0)
    started = time.process_time()
    network = train(part.subset(~held), spec, settings, arguments.output)
    trained = time.process_time() - started
    table = score(network, part.fields[held], image=images, truth=targets / "instances")
    table.to_csv(arguments.output / "images.tsv", sep="\t", index=False)
    print(f"{spec}\n{settings}\n{trained / 60:.1f} CPU minutes of training, {held.sum()} images held out\n")
    print(summarize(table).round(4).to_string())


if __name__ == "__main__":
    main()
