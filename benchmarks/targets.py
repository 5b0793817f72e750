"""How well touching nuclei come apart: targets and ways to make nuclei of their predictions, in one table.

    snakemake study --configfile config/targets.yaml
    python -m benchmarks.targets results/dsb2018_fluo

AP = TP / (TP + FP + FN) at an intersection over union of 0.5 and 0.7, mean over the scored images, and over those in
which connected regions of the true mask hold more than one nucleus. The first rows are bounds: what the true masks give
with connected components, and with one marker from the middle of every true nucleus.

    python -m benchmarks.targets results/dsb2018_fluo --choose

shows where the constants of `instances.split_by_distance` come from: the distance network trained on four fifths of the
training part's groups, scored on the others under a grid of constants. No scored image takes part.
"""

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.dataset.parts import iterate_images, load_part, part_fields, read_predictions, scored_part
from equinuclei.images.instances import connected_components, nuclei, split_by_distance
from equinuclei.images.masks import to_distance
from equinuclei.images.metrics import object_scores
from equinuclei.images.watershed import grow_seeds
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.networks.targets import target_of
from equinuclei.omezarr.stacks import open_stack, read_row, store_attributes
from equinuclei.specs import INSTANCES, resolve_spec
from equinuclei.symmetry import IDENTITY
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.train import TrainingFiles, train_model
from equinuclei.training.tuning import hold_out

THRESHOLDS = (0.5, 0.7)
NECKS = (0.6, 0.7, 0.75, 0.8, 0.9)
NECK_DEPTHS = (10, 30, 40, 50, 60)
PEAKS = (1, 50, 75, 100, 125)


def touches(truth: np.ndarray) -> bool:
    """Whether a connected region of a true mask holds more than one nucleus; truth is a label image (y, x)."""
    return connected_components(truth > 0).max(initial=0) < len(np.unique(truth[truth > 0]))


def perfect_markers(truth: np.ndarray) -> np.ndarray:
    """The true mask parted by one marker from the middle of every true nucleus, labels (y, x)."""
    distance = to_distance(truth, "instances", border_as="nucleus")
    markers = np.where(distance > 127, truth, 0)
    return grow_seeds(connected_components(truth > 0), markers, distance, np.ones_like(markers))


def scores(truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """AP of an image at every threshold."""
    return {f"AP{100 * row.threshold:g}": row.AP for row in object_scores(truth, labels, THRESHOLDS).itertuples()}


def compare(results: Path, modality: str) -> pd.DataFrame:
    """A row per image, model and way: image_id, touching (bool), model, way, and the AP at every threshold."""
    fields, splits = results / "fields.tsv", results / "splits.tsv"
    rows = part_fields(fields, splits, modality=modality, part=scored_part(splits))
    runs = [path.parent for path in sorted((results / "models").glob(f"*/{modality}/seed*/predictions.zarr"))]
    places = {run: read_predictions(run / "predictions.tsv").set_index("image_id") for run in runs}
    table = []
    for row, stored in iterate_images(rows, truth=results / "targets.zarr" / "instances"):
        truth = stored["truth"].astype(np.int64)
        found = {
            ("perfect masks", "components"): connected_components(truth > 0),
            ("perfect masks", "perfect markers"): perfect_markers(truth),
        }
        for run in runs:
            array, number = places[run].loc[row.image_id, ["array", "row"]]
            codes = read_row(open_stack(run / "predictions.zarr", f"deployed/rotated_000/{array}"), int(number))
            target = store_attributes(run / "predictions.zarr")["target"]
            for way in INSTANCES:
                found[f"{run.parents[1].name} {run.name}", way] = nuclei(codes, target, way)[1]
        common = {"image_id": row.image_id, "touching": touches(truth)}
        table += [common | {"model": m, "way": w} | scores(truth, labels) for (m, w), labels in found.items()]
    return pd.DataFrame(table)


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AP per model and way: of all images, and of those in which nuclei touch."""
    names = [f"AP{100 * threshold:g}" for threshold in THRESHOLDS]
    parts = {"all images": table, "touching": table[table["touching"]]}
    means = {part: rows.groupby(["model", "way"], sort=False)[names].mean() for part, rows in parts.items()}
    return pd.concat(means, axis="columns")


def choose(results: Path, modality: str, model: str) -> pd.DataFrame:
    """A row per image held out of the training part, `neck`, `neck_depth` and `peak`: touching, and its mean AP."""
    run = json.loads(next((results / "models" / model / modality).glob("seed*/run.json")).read_text(encoding="utf-8"))
    spec, settings = resolve_spec(run["spec"]), TrainingSettings.from_mapping(run["training"])
    images, targets, *tables = (results / name for name in ("images.zarr", "targets.zarr", "fields.tsv", "splits.tsv"))
    part = load_part(images, targets, *tables, modality=modality, part="train", target=spec.target, diameters=True)
    held = hold_out(part.fields, run["seed"])
    with tempfile.TemporaryDirectory() as folder:
        files = TrainingFiles.inside(folder)
        train_model(spec, part.subset(~held), None, settings, seed=run["seed"], files=files)
        network = fold(load_model(files.weights))
    table = []
    for _, stored in iterate_images(part.fields[held], image=images, truth=targets / "instances"):
        codes = target_of(spec.target).codes(predict_transforms(network, stored["image"], [IDENTITY])[IDENTITY])
        truth = stored["truth"].astype(np.int64)
        for neck, depth, peak in product(NECKS, NECK_DEPTHS, PEAKS):
            labels = split_by_distance(codes, neck=neck, neck_depth=depth, peak=peak)
            ap = np.mean(list(scores(truth, labels).values()))
            table.append({"neck": neck, "neck_depth": depth, "peak": peak, "touching": touches(truth), "AP": ap})
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a data set of the study")
    parser.add_argument("--modality", default="fluorescence")
    parser.add_argument("--choose", action="store_true", help="show scores under a grid of constants instead")
    parser.add_argument("--model", default="distance", help="of --choose: the model whose training is repeated")
    arguments = parser.parse_args()
    if arguments.choose:
        table = choose(arguments.results, arguments.modality, arguments.model)
        for name, rows in (("all images", table), ("images with touching nuclei", table[table["touching"]])):
            grid = rows.pivot_table(index=["peak", "neck"], columns="neck_depth", values="AP")
            print(f"{name}, mean AP at {THRESHOLDS}:\n{grid.round(4)}\n")
        return
    table = compare(arguments.results, arguments.modality)
    images = table.drop_duplicates("image_id")
    print(f"{len(images)} images, nuclei touch in {images['touching'].sum()} of them\n")
    print(summarize(table).round(3).to_string())


if __name__ == "__main__":
    main()
