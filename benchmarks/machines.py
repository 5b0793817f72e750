"""What moves the numbers of a study between machines: the processor's instructions, threads, or no more than the seed.

    snakemake study --configfile config/demo.yaml --until binarize_masks split_dataset
    python -m benchmarks.machines config/demo.yaml --model simplified-p4 --modality brightfield --output trials

trains one model of a study again and again on its first data set: as it is, once more, on fewer instructions of the
processor (all libraries together, then one by one), on two threads, and with other seeds. Each trial is a process of
its own, since libraries choose their instructions when they load. The table has a row per trial: whether the weights
are, to the bit, those of the first row, and pixel and object F1 (IoU 0.5), means over the images of the scored part.
Trials that an earlier call left in --output stand.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from snakemake.utils import update_config

from equinuclei.checksums import sha256
from equinuclei.config.study import Study
from equinuclei.dataset.parts import DatasetFiles, iterate_images, load_part
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.images.instances import nuclei
from equinuclei.images.metrics import score_image
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.networks.targets import target_of
from equinuclei.runtime.files import write_json
from equinuclei.runtime.provenance import hardware
from equinuclei.symmetry import IDENTITY
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.train import TrainingFiles, train_model

ROOT = Path(__file__).parents[1]
# Variables by which the libraries under torch are kept to instructions that older processors have, too.
NARROW = {
    "torch's own loops": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN (convolutions)": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "MKL (matrix products)": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}


@dataclass(frozen=True)
class Trial:
    """One training: seed and threads (None: those of the study), and variables of its process."""

    name: str
    seed: int = 0
    threads: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def trials(seeds: int) -> Iterator[Trial]:
    """What is trained, in the order of the table; the first row is what the others are compared with."""
    yield Trial("as it is")
    yield Trial("once more")
    yield Trial("AVX2", environment={name: value for part in NARROW.values() for name, value in part.items()})
    yield from (Trial(f"seed {seed}", seed) for seed in range(1, seeds))
    yield Trial("two threads", threads=2)
    yield from (Trial(f"AVX2 in {library}", environment=part) for library, part in NARROW.items())


def run(trial: Trial, study: Study, files: DatasetFiles, model: str, modality: str, folder: Path) -> dict[str, Any]:
    """Train in this process and score: sha256 of the weights, pixel and object F1, seconds, and the hardware."""
    spec = study.trained[model].spec
    settings = study.training_of(next(iter(study.datasets)), model)
    settings |= {} if trial.threads is None else {"torch_threads": trial.threads}
    part = load_part(files, modality=modality, part="train", target=spec.target, diameters=spec.diameter is not None)
    made = TrainingFiles.inside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train_model(spec, part, None, TrainingSettings.from_mapping(settings), seed=trial.seed, files=made)
    network = fold(load_model(made.weights))
    target, border_as = target_of(spec.target), next(iter(study.datasets.values()))["mask"]["border_as"]
    scored = ScoredPart(Path(files.targets), Path(files.fields), Path(files.splits), modality)
    scores = []
    for _, stored in iterate_images(scored.rows(), image=files.images, binary=scored.masks, instances=scored.nuclei):
        codes = target.codes(predict_transforms(network, stored["image"], [IDENTITY])[IDENTITY])
        mask, labels = nuclei(codes, spec.target, study.trained[model].instances, border_as=border_as)
        plain = (0, False)
        scores += score_image(stored["binary"] > 0, stored["instances"], {plain: mask}, (0.5,), objects={plain: labels})
    return {
        "weights": sha256(made.weights),
        "pixel F1": float(np.nanmean([score["pixel_F1"] for score in scores])),
        "object F1": float(np.nanmean([score["object50_F1"] for score in scores])),
        "seconds": json.loads(made.run.read_text(encoding="utf-8"))["train_seconds"],
        "hardware": hardware(),
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The trials so far, with `same bits` where the weights are those of the first row."""
    shown = pd.DataFrame.from_dict(rows, orient="index").drop(columns="hardware")
    shown["same bits"] = shown["weights"] == shown["weights"].iloc[0]
    return shown.assign(weights=shown["weights"].str[:12]).round(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", default="simplified-p4")
    parser.add_argument("--modality", default="brightfield")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, required=True, help="folder for the weights and scores of the trials")
    parser.add_argument("--only", nargs="*", metavar="TRIAL", help="names of trials, such as 'seed 1' (default: all)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # a trial, in its own process
    arguments = parser.parse_args()
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    update_config(config, yaml.safe_load(arguments.config.read_text(encoding="utf-8")))
    study = Study(config, yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8")))
    results = arguments.results / next(iter(study.datasets))
    files = DatasetFiles(*(results / name for name in ("images.zarr", "targets.zarr", "fields.tsv", "splits.tsv")))
    rows = {}
    for trial in trials(arguments.seeds):
        if arguments.only and trial.name not in arguments.only:
            continue
        folder = arguments.output / arguments.model / arguments.modality / trial.name.replace(" ", "_").replace("'", "")
        if arguments.here:
            scores = run(trial, study, files, arguments.model, arguments.modality, folder)
            write_json(folder / "trial.json", scores)
            return
        if not (folder / "trial.json").is_file():
            command = [sys.executable, "-m", "benchmarks.machines", *sys.argv[1:], "--here", "--only", trial.name]
            subprocess.run(command, env=os.environ | trial.environment, check=True)
        rows[trial.name] = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
        print(table(rows).to_string(), flush=True)
    print(next(iter(rows.values()))["hardware"])
    found = [row["object F1"] for name, row in rows.items() if name == "as it is" or name.startswith("seed ")]
    if found:
        print(f"object F1 {min(found):.2f} to {max(found):.2f} over {len(found)} seeds")


if __name__ == "__main__":
    main()
