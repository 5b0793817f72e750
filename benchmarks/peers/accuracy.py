"""A model of the library and StarDist, learnt from the same images, on the same images that neither has seen.

    snakemake train_shipped --configfile config/shipped_fluorescence.yaml --until binarize_masks split_dataset
    make peers
    python -m benchmarks.peers.accuracy config/shipped_fluorescence.yaml [--model NAME] [--minutes 67] [--output FILE]

trains StarDist on the training part of the first data set of the configuration for so many minutes of CPU (the wall
clock shows fewer on several cores), and prints the table of the model cards with StarDist in the place of the
threshold: estimates and paired difference with 95 % intervals over groups, and how many label images turn with the
image. `--output` also writes the row of every image and method as TSV.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from benchmarks.peers.compare import ROOT
from equinuclei.dataset.parts import iterate_images, part_fields, scored_part
from equinuclei.errors import InputError
from equinuclei.evaluation.accuracy import compare_methods, labels_of_rotations, score_labels, turn_with_the_image
from equinuclei.library.names import LAB_MODELS, find_weights
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.symmetry import Group

STARDIST = ROOT / ".venv-peers" / "stardist"


def run_stardist(
    folder: Path, training: pd.DataFrame, scored: pd.DataFrame, stores: dict[str, Path], minutes: float
) -> None:
    """Train StarDist and let it label the scored images: FOLDER/found/<number>.npy, see stardist_training.py.

    Raises InputError, with what it told, if it fails.
    """
    if not (STARDIST / ".ready").exists():
        raise InputError("StarDist is not installed: `make peers` builds its environment")
    for name, rows in (("train", training), ("scored", scored)):
        (folder / name).mkdir()
        for number, (_, stored) in enumerate(iterate_images(rows, **stores)):
            labels = {"labels": stored["instances"]} if name == "train" else {}
            np.savez(folder / name / f"{number:04d}.npz", image=stored["image"], **labels)
    script = Path(__file__).with_name("stardist_training.py")
    done = subprocess.run(
        [STARDIST / "bin" / "python", script, folder, str(minutes)], text=True, stdout=subprocess.PIPE, stderr=None
    )
    if done.returncode:
        raise InputError(f"StarDist's process ended without a result\n{done.stdout[-2000:]}")
    print(f"StarDist: {done.stdout.splitlines()[-1]}")


def score(model: str, scored: pd.DataFrame, stores: dict[str, Path], found: Path) -> pd.DataFrame:
    """A row per image and method: columns of `accuracy.evaluate_model`."""
    network = fold(load_model(find_weights(model, LAB_MODELS)))
    table = []
    for number, (row, stored) in enumerate(iterate_images(scored, **stores)):
        of_rotations = np.load(found / f"{number:04d}.npy")
        turned = [element(labels) for element, labels in zip(Group.P4.elements, of_rotations, strict=True)]
        methods = {
            model: labels_of_rotations(network, stored["image"]),
            "StarDist": (of_rotations[0], turn_with_the_image(turned)),
        }
        for method, (labels, identical) in methods.items():
            scores = score_labels(stored["binary"] > 0, stored["instances"].astype(np.int64), labels)
            of_image = {"image_id": row.image_id, "cell_line": row.cell_line, "group": row.group, "method": method}
            table.append(of_image | scores | {"identical": identical})
    return pd.DataFrame(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--model", default="fluorescence-fast-v1", metavar="NAME", help="name of a model")
    parser.add_argument("--minutes", type=float, default=67, help="of CPU, to train StarDist")
    parser.add_argument("--output", type=Path, help="a table of all images, TSV")
    arguments = parser.parse_args()
    dataset = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))["datasets"][0]
    results = arguments.results / dataset["name"]
    tables = results / "fields.tsv", results / "splits.tsv"
    targets = results / "targets.zarr"
    stores = {"image": results / "images.zarr", "binary": targets / "binary", "instances": targets / "instances"}
    prepare_torch("cpu", 1, deterministic=True)
    try:
        training, scored = (
            part_fields(*tables, modality=dataset["modalities"][0], part=part)
            for part in ("train", scored_part(tables[1]))
        )
        with tempfile.TemporaryDirectory() as name:
            run_stardist(Path(name), training, scored, stores, arguments.minutes)
            table = score(arguments.model, scored, stores, Path(name) / "found")
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if arguments.output is not None:
        table.to_csv(arguments.output, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
    print("\n".join(compare_methods(table, arguments.model, "StarDist")))
    same = table.groupby("method", sort=False)["identical"].mean()
    print("\nLabel images identical under quarter turns: " + ", ".join(f"{n} {100 * s:.1f} %" for n, s in same.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
