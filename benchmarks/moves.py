"""How much the scores of named models change when an image is turned between the quarter turns, or shifted.

`python -m benchmarks.moves FOLDER MODEL ...` scores shipped models on some of the images that a data set in the layout
"folder" sets aside (`--images`, one per group), and prints the table of a study's `evaluation.turns_and_shifts`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from equinuclei.analysis.failures import find_failures
from equinuclei.analysis.moves import moves_table
from equinuclei.analysis.statistics import format_table
from equinuclei.dataset.convert import ConvertedFiles, binarize_masks, convert_dataset
from equinuclei.dataset.splits import split_dataset, write_splits
from equinuclei.evaluation.moved import score_moves, score_otsu_moves
from equinuclei.evaluation.prediction import PredictionFiles, PredictionSettings, predict_part
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import RunLabels, score_otsu, score_predictions
from equinuclei.library.names import find_weights

SETTINGS = PredictionSettings(False, ["deployed"], examples=1, device="cpu", torch_threads=1, moves=True)
SHOWN = ["model", "move", "amount", "level", "images", "mean_absolute", "low", "high"]


def converted(source: Path, folder: Path, count: int) -> ScoredPart:
    """The first `count` images of those set aside, each of another group, converted into `folder`."""
    split = pd.read_csv(source / "split.csv", dtype=str, keep_default_na=False)
    chosen = split[split["split"] != "train"].drop_duplicates("group").sort_values("name").head(count)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
        for path in (source / kind).iterdir():
            if path.stem in set(chosen["name"]):
                (folder / kind / path.name).symlink_to(path.resolve())
    chosen.to_csv(folder / "split.csv", index=False)
    mask = {"kind": "instances", "border_as": "nucleus"}
    settings = {"layout": "folder", "path": str(folder), "modality": "fluorescence", "mask": mask}
    files = ConvertedFiles(folder / "images.zarr", folder / "annotations.zarr", folder / "fields.tsv")
    convert_dataset(settings, files, workers=1)
    binarize_masks(files.annotations, files.fields, folder / "targets.zarr", mask, workers=1)
    fields = pd.read_csv(files.fields, sep="\t", dtype=str, keep_default_na=False)
    write_splits(split_dataset(fields, [1.0, 0.0, 0.0], 0), folder / "splits.tsv")
    return ScoredPart(folder / "targets.zarr", folder / "fields.tsv", folder / "splits.tsv", "fluorescence")


def measure(source: Path, models: Sequence[str], count: int, folder: Path) -> pd.DataFrame:
    """`moves_table` of the models and of Otsu's threshold."""
    part, images = converted(source, folder, count), folder / "images.zarr"
    moved, scores = folder / "otsu_moved.parquet", folder / "otsu.parquet"
    score_otsu_moves(images, part, dataset=source.name, scores=moved)
    score_otsu(images, part, dataset=source.name, mirrored=False, scores=scores)
    tables = [(moved, scores)]
    for model in models:
        files = PredictionFiles(*(folder / f"{model}.{end}" for end in ("zarr", "tsv", "npz")))
        predict_part(find_weights(model, "resources/models"), images, part, SETTINGS, files)
        labels = RunLabels(source.name, model, 0)
        moved, scores = folder / f"{model}_moved.parquet", folder / f"{model}.parquet"
        score_moves(files.predictions, files.index, part, labels, scores=moved)
        crops = folder / f"{model}_crops.parquet"
        score_predictions(files.predictions, files.index, part, labels, scores=scores, crop_scores=crops)
        tables.append((moved, scores))
    both = [pd.concat([pd.read_parquet(pair[place]) for pair in tables], ignore_index=True) for place in (0, 1)]
    return moves_table(both[0], find_failures(both[1]), models, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="data set with images/, masks/ and split.csv")
    parser.add_argument("models", nargs="+", help="names of shipped models")
    parser.add_argument("--images", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(format_table(measure(arguments.folder, arguments.models, arguments.images, Path(folder)), SHOWN))


if __name__ == "__main__":
    main()
