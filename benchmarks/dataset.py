"""Speed of the way of a data set to its network, as ratios measured side by side: conversion against a plain copy into
arrays of the same layout and compression, loading against reading the same arrays, crops against the training that
consumes them. And the seconds that planning the full study takes.

    python -m benchmarks.dataset [--fields 8] [--size 1080] [--rounds 3] [--workers 2]
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import yaml

from benchmarks.rounds import measure, ratio
from benchmarks.training_step import training_step
from equinuclei.dataset.convert import ConvertedFiles, binarize_masks, convert_dataset
from equinuclei.dataset.parts import DatasetFiles, Part, load_part, part_fields, read_fields
from equinuclei.dataset.splits import split_dataset, write_splits
from equinuclei.omezarr import stacks as store
from equinuclei.simulation.datasets import simulate_dataset
from equinuclei.specs import PRESETS
from equinuclei.training.crops import CropSampler

ROOT = Path(__file__).parents[1]
FOURTEEN = ["unet", "unet-aug", "unet-p4", "unet-p4m", "simplified", "simplified-aug", "simplified-p4"]
FOURTEEN += ["simplified-p4m", "gdensenet", "gdensenet-p4", "gdensenet-p4m", "gunet", "gunet-p4", "gunet-p4m"]
MASK = {"kind": "three_class", "border_as": "background"}


def convert(source: Path, target: Path, workers: int) -> None:
    """The conversion, anew."""
    shutil.rmtree(target, ignore_errors=True)
    output = ConvertedFiles(target / "images.zarr", target / "annotations.zarr", target / "fields.tsv")
    convert_dataset({"layout": "table", "path": str(source / "images.tsv"), "mask": MASK}, output, workers=workers)


def plain_copy(source: Path, target: Path, workers: int) -> None:
    """Every image and mask into arrays of the conversion's layout, chunks, shards and compression, and nothing else."""
    shutil.rmtree(target, ignore_errors=True)
    table = pd.read_csv(source / "images.tsv", sep="\t")
    with ThreadPoolExecutor(workers) as pool:
        for kind in ("image", "mask"):
            for modality, rows in table.groupby("modality"):
                files = [source / name for name in rows[kind]]
                first = tifffile.imread(files[0])
                stack = store.create_stack(target, f"{kind}/{modality}", len(files), *first.shape, first.dtype)
                step = stack.shards[0]

                def write(start: int, stack=stack, files=files, step=step) -> None:
                    stack[start : start + step] = np.stack([tifffile.imread(f) for f in files[start : start + step]])

                list(pool.map(write, range(0, len(files), step)))


def plain_read(folder: Path, rows: pd.DataFrame) -> None:
    """The arrays of the rows, read whole with zarr."""
    for content in ("images.zarr", "targets.zarr/binary"):
        for array in rows["array"].unique():
            store.open_stack(folder / content, array)[:]


def measure_planning() -> None:
    """Seconds in which Snakemake parses the full study, five seeds, and plans its jobs."""
    with tempfile.TemporaryDirectory() as folder:
        config = yaml.safe_load((ROOT / "config/simulated.yaml").read_text())
        config["models"] = FOURTEEN
        Path(folder, "study.yaml").write_text(yaml.safe_dump(config))
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "study",
            "-n",
            "-q",
            "all",
            "--snakefile",
            str(ROOT / "Snakefile"),
        ]
        command += ["--workflow-profile", str(ROOT / "profiles/default"), "--directory", folder]
        command += ["--configfile", str(Path(folder, "study.yaml"))]
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
    jobs = len(config["models"]) * 2 * 5
    print(f"planning a study of {jobs} trainings: {statistics.median(seconds):.1f} s")


def measure_crops(part: Part, crop: int, rounds: int) -> None:
    """Crops of a part, beside training steps on as many."""
    sampler = CropSampler(part.images, part.targets, crop=crop, batch_size=8, augmentation="dihedral")
    epoch = {"epoch": 0}

    def crops() -> None:
        epoch["epoch"] += 1
        for _ in sampler.epoch(epoch["epoch"]):
            pass

    step = training_step(PRESETS["simplified-p4"], crop, 8)
    seconds = measure({"crops": crops, "step": step}, 2 * rounds + 1)
    ratios = [len(sampler) * step / crops for step, crops in zip(seconds["step"], seconds["crops"], strict=True)]
    times = statistics.median(ratios)
    print(f"crops of {crop} pixels: {times:.0f} times as fast as simplified-p4 trains on them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=8, help="fields per cell line")
    parser.add_argument("--size", type=int, default=1080)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--crop", type=int, default=256)
    arguments = parser.parse_args()
    workers = arguments.workers
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, converted, copied = folder / "source", folder / "converted", folder / "copied"
        print("simulating ...", flush=True)
        simulate_dataset(
            source, fields_per_cell_line=arguments.fields, height=arguments.size, width=arguments.size, seed=0,
            processes=workers,
        )  # fmt: skip
        size = sum(path.stat().st_size for path in source.rglob("*.tif")) / 1e6
        seconds = measure(
            {
                "convert": lambda: convert(source, converted, workers),
                "copy": lambda: plain_copy(source, copied, workers),
            },
            arguments.rounds,
        )
        print(
            f"conversion of {size:.0f} MB: {statistics.median(seconds['convert']):.2f} s, "
            f"{ratio(seconds['copy'], seconds['convert']):.2f} of the speed of a plain copy"
        )
        binarize_masks(
            converted / "annotations.zarr", converted / "fields.tsv", converted / "targets.zarr", MASK, workers
        )
        write_splits(
            split_dataset(read_fields(converted / "fields.tsv"), [1.0, 0.0, 0.0], seed=0), converted / "splits.tsv"
        )
        files = DatasetFiles(
            converted / "images.zarr", converted / "targets.zarr", converted / "fields.tsv", converted / "splits.tsv"
        )
        which = {"modality": "fluorescence", "part": "train"}
        rows = part_fields(files.fields, files.splits, **which)
        seconds = measure(
            {"load": lambda: load_part(files, **which, workers=workers), "read": lambda: plain_read(converted, rows)},
            2 * arguments.rounds + 1,
        )
        print(
            f"loading {len(rows)} images: {statistics.median(seconds['load']):.2f} s, "
            f"{ratio(seconds['read'], seconds['load']):.2f} of the speed of reading their arrays whole"
        )
        part = load_part(files, **which, workers=workers)
    measure_crops(part, arguments.crop, arguments.rounds)
    measure_planning()


if __name__ == "__main__":
    main()
