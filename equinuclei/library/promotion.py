"""From a training of a study to a named, immutable model for plates, with a card that a person can read."""

import json
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from equinuclei.checksums import digest, sha256
from equinuclei.errors import InputError, StoppedError
from equinuclei.library.names import NORMALIZATION_IN_WORDS, WEIGHTS, shipped_models
from equinuclei.networks.checkpoint import read_metadata
from equinuclei.runtime.files import make_folder
from equinuclei.runtime.provenance import read_run

CARD = "README.md"


def promote_model(run: str | Path, name: str, library: str | Path, *, notes: str = "") -> Path:
    """Copy a trained model of a study into the library, under a name that will always mean these weights.

    Parameters
    ----------
    run
        Folder of a training: `weights.safetensors` and `run.json`; `scores.parquet` where the study scored the model,
        and `accuracy.md` where it was evaluated as deployed (`train_shipped`), whose figures the card then tells.
    name
        Letters, digits, ".", "_" and "-"; a version belongs into it, such as "simplified-p4-dapi-v1".
    notes
        What a user should know, for the card.

    Returns
    -------
    Path
        `<library>/<name>`, with weights, run.json and a card; all read-only.

    Raises
    ------
    InputError
        If the name is unusable, taken, or that of a model that comes with the package, or weights and run.json are not
        of one training.
    StoppedError
        If the training cannot be read now, or changes while it is copied.
    """
    run, target = Path(run), Path(library, name)
    _check_name(name)
    taken = InputError(f"{target} exists, and a name always means the same weights: choose another, such as {name}-v2")
    if target.exists():
        raise taken
    if not (run / "run.json").is_file():
        raise InputError(f"{run}: holds no training, as there is no run.json: name the folder of one")
    record, weights = read_run(run / "run.json"), run / WEIGHTS
    certificate = read_metadata(weights)["equivariance"]
    accuracy = run / "accuracy.md"
    found = accuracy.read_text(encoding="utf-8") if accuracy.is_file() else ""
    scores = {} if found else _scores(run / "scores.parquet")
    checksum = sha256(weights)
    if record.get("files", {}).get(WEIGHTS, checksum) != checksum:
        raise InputError(f"{run}: weights and run.json are of two trainings: train the model again")

    def build(folder: Path) -> None:
        for path in folder.iterdir():  # read-only ones of an interrupted promotion
            path.unlink()
        shutil.copyfile(weights, folder / WEIGHTS)
        shutil.copyfile(run / "run.json", folder / "run.json")
        if sha256(folder / WEIGHTS) != checksum or read_run(folder / "run.json") != record:
            raise StoppedError(f"{run}: the model was trained anew while it was copied: run again")
        (folder / CARD).write_text(_card(name, record, certificate, scores, checksum, notes, found), encoding="utf-8")
        for path in folder.iterdir():
            path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)

    try:
        make_folder(target, digest([checksum, record, scores, notes, found]), build, immutable=True)
    except FileExistsError:
        raise taken from None
    return target


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", name):
        raise InputError(f"model name {name!r}: use letters, digits, '.', '_' and '-', such as simplified-p4-dapi-v1")
    if name in shipped_models():
        raise InputError(
            f"model name {name!r} is that of a model that comes with the package: choose another, such as {name}-lab"
        )


def _scores(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    table = pd.read_parquet(path)
    deployed = table[(table["inference"] == "deployed") & (table["rotation"] == 0) & ~table["mirrored"]]
    return {name: float(deployed[name].mean()) for name in ("pixel_F1", "object50_F1")}


def _card(
    name: str, record: Mapping, certificate: Mapping, scores: Mapping, checksum: str, notes: str, accuracy: str
) -> str:
    spec, group, machine = record["spec"], record["group"], record["hardware"]
    own = {
        "trivial": "none: a plain network",
        "p4": "quarter turns",
        "p4m": "quarter turns and mirrors",
    }[group]
    errors = {kind: max(v for k, v in certificate[kind].items() if group == "p4m" or "mirrored" not in k)
              for kind in ("float64", "float32", "exact")} if group != "trivial" else {}  # fmt: skip
    lines = [
        f"# {name}",
        "",
        notes.strip() or "Nucleus segmentation of microscopy images.",
        "",
        "| | |",
        "|---|---|",
        f"| network | {spec['architecture']}, widths {spec['widths']} |",
        f"| target | {spec.get('target', 'binary')} |",
        *([f"| works best with nuclei of | {spec['diameter']:g} pixels across |"] if spec.get("diameter") else []),
        f"| equivariant under | {own} |",
        *[f"| measured error, {kind} | {value:.1e} |" for kind, value in errors.items()],
        f"| parameters | {record['parameters']:,} |",
        f"| trained on | {record.get('dataset', '?')}, {record.get('modality', '?')}, {record['images']} images |",
        *[f"| {key.replace('_', ' ')} on the scored part | {value:.3f} |" for key, value in scores.items()],
        f"| computing cost | {record['gflops']:.1f} GFLOP for an image of 256 x 256 pixels |",
        f"| trained for | {record['train_seconds'] / 60:.0f} minutes on {machine.get('gpu', machine['processor'])} |",
        f"| code | {record['code_version']} |",
        f"| SHA-256 of the weights | `{checksum}` |",
        "",
        *(["## Accuracy", "", accuracy] if accuracy else []),
        "## Training",
        "",
        f"Input: one channel, {NORMALIZATION_IN_WORDS[spec.get('normalization', 'standard')]}. The full record is",
        "`run.json`:",
        "",
        "```json",
        json.dumps(record["training"], indent=2),
        "```",
        "",
    ]
    return "\n".join(lines)
