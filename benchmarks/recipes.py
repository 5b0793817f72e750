"""How well nuclei are found by a way of training, on groups held out of the training part: no scored image takes part.

    snakemake train_shipped --configfile config/shipped_fluorescence.yaml --until binarize_masks split_dataset
    python -m benchmarks.recipes config/shipped_fluorescence.yaml --output trial --model diameter=24 --training zoom=2

trains the first model of the configuration, changed as told, on four fifths of the groups of its first data set, and
prints AP = TP / (TP + FP + FN) at an intersection over union of 0.5 and 0.7, mean over the images of the others: as
they come, magnified by the size of the nuclei that are found in them, with several values of
`segmentation.SIZE_TOLERANCE`, and by that of their true nuclei; and per band of sizes.
"""

import argparse
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from equinuclei.dataset.parts import DatasetFiles, Part, iterate_images, load_part
from equinuclei.errors import InputError
from equinuclei.evaluation.accuracy import SIZES
from equinuclei.images.metrics import object_scores
from equinuclei.images.rescaling import typical_diameter
from equinuclei.inference import nuclei as segmentation
from equinuclei.inference.nuclei import segment_image
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.provenance import read_run
from equinuclei.specs import ModelSpec, resolve_spec
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.train import TrainingFiles, train_model
from equinuclei.training.tuning import hold_out

THRESHOLDS = (0.5, 0.7)
TOLERANCES = (1.1, 1.25, 1.5, 2.0)
CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"


def train(part: Part, spec: ModelSpec, settings: TrainingSettings, folder: Path) -> SegmentationNetwork:
    """The network, folded, trained on a part, or as an earlier run left it.

    Raises InputError if that had another model or other settings.
    """
    files = TrainingFiles.inside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not files.weights.is_file():
        train_model(spec, part, None, settings, seed=0, files=files)
    made = read_run(files.run)
    if made["spec"] != spec.to_dict() or made["training"] != asdict(settings):
        raise InputError(f"{folder} holds a trial of another model or other settings: choose another --output")
    return fold(load_model(files.weights))


def score(network: SegmentationNetwork, rows: pd.DataFrame, **stores: Path) -> pd.DataFrame:
    """A row per image and way of magnifying: median_area (pixels, of the true nuclei), and AP per threshold."""
    table = []
    for row, stored in iterate_images(rows, **stores):
        image, truth = stored["image"], stored["truth"].astype(np.int64)
        areas = np.bincount(truth.ravel())[1:]
        median_area = np.median(areas[areas > 0]) if areas.any() else np.nan
        for way, labels in segmentations(network, image, typical_diameter(truth)).items():
            aps = {f"AP{100 * s.threshold:g}": s.AP for s in object_scores(truth, labels, THRESHOLDS).itertuples()}
            table.append({"image_id": row.image_id, "median_area": median_area, "way": way} | aps)
    return pd.DataFrame(table)


def segmentations(network: SegmentationNetwork, image: np.ndarray, true_diameter: float) -> dict[str, np.ndarray]:
    """Labels of an image per way of magnifying; of a network without a size of its own, as it comes alone."""
    found = {"as they come": segment_image(network, image, diameter=None).labels}
    if network.diameter is None:
        return found
    chosen = segmentation.SIZE_TOLERANCE
    for tolerance in TOLERANCES:
        segmentation.SIZE_TOLERANCE = tolerance
        found[f"found size, within {tolerance:g}"] = segment_image(network, image).labels
    segmentation.SIZE_TOLERANCE = chosen
    return found | {"true size": segment_image(network, image, diameter=true_diameter).labels}


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AP in rows per way of magnifying, and columns per threshold and (at 0.5) band of sizes."""
    means = table.groupby("way", sort=False)[[f"AP{100 * t:g}" for t in THRESHOLDS]].mean()
    bands = pd.cut(table["median_area"], SIZES, right=False).rename("AP50 of median area")
    return means.join(table.pivot_table(index="way", columns=bands, values="AP50", observed=True).rename(columns=str))


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
    files = DatasetFiles(*(results / name for name in ("images.zarr", "targets.zarr", "fields.tsv", "splits.tsv")))
    part = load_part(
        files, modality=dataset["modalities"][0], part="train", target=spec.target,
        diameters=spec.diameter is not None,
    )  # fmt: skip
    held = hold_out(part.fields, seed=0)
    started = time.process_time()
    network = train(part.subset(~held), spec, settings, arguments.output)
    trained = time.process_time() - started
    table = score(network, part.fields[held], image=files.images, truth=Path(files.targets) / "instances")
    table.to_csv(arguments.output / "images.tsv", sep="\t", index=False)
    print(f"{spec}\n{settings}\n{trained / 60:.1f} CPU minutes of training, {held.sum()} images held out\n")
    print(summarize(table).round(4).to_string())


if __name__ == "__main__":
    main()
