"""Seconds and memory of scoring: of two crowded label images, and of a data set's images under four rotations, as the
workflow scores them (one process, from stores to scores.parquet), carried over to the 504 images of the full study.

The images are simulated. A prediction is Otsu's mask moved by a few pixels, another way for each rotation, so that none
is easier to match than a network's.

    python -m benchmarks.scoring [--fields 4] [--size 1080] [--objects 20000] [--rounds 3]
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rounds import measure
from equinuclei.dataset.convert import binarize_masks, convert_dataset
from equinuclei.dataset.parts import iterate_images, part_fields, read_fields
from equinuclei.dataset.splits import split_dataset, write_splits
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.evaluation.scoring import RunLabels, otsu_mask, score_predictions
from equinuclei.images.metrics import object_scores
from equinuclei.omezarr.stacks import create_stack, create_store, write_rows
from equinuclei.simulation.fields import simulate_dataset
from equinuclei.symmetry import Group

MASK = {"kind": "three_class", "border_as": "background"}
STUDY_IMAGES = 504


def score_crowded(objects: int, rounds: int) -> None:
    """Two label images that are full of objects, each overlapping several of the other side."""
    edge = int(np.ceil(np.sqrt(objects)))
    truth = np.kron(np.arange(1, edge**2 + 1, dtype=np.int32).reshape(edge, edge), np.ones((8, 8), dtype=np.int32))
    prediction = np.roll(truth, (1, 2), axis=(0, 1))
    seconds = measure({"score": partial(object_scores, truth, prediction)}, rounds)["score"]
    tracemalloc.start()
    object_scores(truth, prediction)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"{edge**2} objects on each side, {truth.shape[0]} x {truth.shape[1]} pixels, ten thresholds: "
        f"{statistics.median(seconds):.2f} s, {peak / 1e6:.0f} MB beside the two images"
    )


def make_dataset(folder: Path, fields: int, size: int) -> dict[str, Path]:
    """A simulated data set, converted; a split with a quarter of it in test, and one with all of it."""
    simulate_dataset(folder / "source", fields_per_cell_line=fields, height=size, width=size, seed=0, processes=2)
    paths = {name: folder / f"{name}.zarr" for name in ("images", "annotations", "targets", "predictions")}
    paths |= {name: folder / f"{name}.tsv" for name in ("fields", "quarter", "whole")}
    source = {"layout": "table", "path": str(folder / "source/images.tsv"), "mask": MASK}
    convert_dataset(source, paths["images"], paths["annotations"], paths["fields"], workers=2)
    binarize_masks(paths["annotations"], paths["fields"], paths["targets"], MASK, workers=2)
    for name, share in (("quarter", 0.25), ("whole", 1.0)):
        write_splits(split_dataset(read_fields(paths["fields"]), [1 - share, 0.0, share], seed=0), paths[name])
    return paths


def predict(paths: dict[str, Path]) -> None:
    """A prediction of every image under four rotations."""
    rows = part_fields(paths["fields"], paths["whole"], modality="fluorescence", part="test")
    (array,) = rows["array"].unique()
    create_store(paths["predictions"], {"inferences": ["deployed"], "transforms": [e.name for e in Group.P4.elements]})
    stacks = [
        create_stack(
            paths["predictions"],
            f"deployed/{element.name}/{array}",
            len(rows),
            *rows[["height", "width"]].iloc[0],
            "uint8",
        )
        for element in Group.P4.elements
    ]
    step = stacks[0].shards[0]
    for start in range(0, len(rows), step):
        read = iterate_images(rows.iloc[start : start + step], image=paths["images"])
        masks = np.stack([otsu_mask(stored["image"]) for _, stored in read])
        for number, stack in enumerate(stacks):
            write_rows(stack, start, np.roll(masks, (number, 1), axis=(1, 2)).astype(np.uint8))
    index = rows[["image_id", "array"]].assign(row=range(len(rows)))
    index.to_csv(paths["predictions"].with_suffix(".tsv"), sep="\t", index=False)


def peak_memory() -> float:
    """The largest memory that this process has held so far, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def score(paths: dict[str, Path], splits: str) -> tuple[int, float, float, float]:
    """Images scored, seconds that it took, and the peak memory in MB before (libraries) and after."""
    before = peak_memory()
    start = time.perf_counter()
    score_predictions(
        paths["predictions"],
        paths["predictions"].with_suffix(".tsv"),
        ScoredPart(paths["targets"], paths["fields"], paths[splits], "fluorescence"),
        RunLabels("simulated", "moved", seed=0),
        scores=paths[splits].with_suffix(".parquet"),
        crop_scores=paths[splits].with_suffix(".crops.parquet"),
    )
    seconds = time.perf_counter() - start
    images = pd.read_parquet(paths[splits].with_suffix(".parquet"), columns=["image_id"])["image_id"].nunique()
    return images, seconds, before, peak_memory()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=4, help="fields per cell line")
    parser.add_argument("--size", type=int, default=1080)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    score_crowded(arguments.objects, arguments.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        print("simulating ...", flush=True)
        paths = make_dataset(Path(temporary), arguments.fields, arguments.size)
        predict(paths)
        for splits in ("quarter", "whole"):
            # In a process of its own, whose peak is that of the scoring.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                images, seconds, before, after = pool.submit(score, paths, splits).result()
            print(
                f"{images} images x 4 rotations: {seconds:.1f} s, {seconds / images:.2f} s per image; "
                f"peak {after:.0f} MB, of which {before:.0f} MB libraries; "
                f"{STUDY_IMAGES} images at this rate: {STUDY_IMAGES * seconds / images / 60:.1f} min"
            )


if __name__ == "__main__":
    main()
