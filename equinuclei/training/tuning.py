"""The learning rate of a model, chosen from candidates on the training part alone."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from equinuclei.checksums import digest
from equinuclei.dataset.parts import Part
from equinuclei.dataset.splits import split_dataset
from equinuclei.errors import InputError
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.targets import target_of
from equinuclei.runtime.files import done_record, mark_done, put_in_place, with_scratch_folder, write_json
from equinuclei.runtime.finished import is_made
from equinuclei.runtime.provenance import code_version, hardware, locked_packages, package_versions, read_run
from equinuclei.specs import ModelSpec
from equinuclei.symmetry import IDENTITY
from equinuclei.tables.files import read_table
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.task import DivergedError
from equinuclei.training.train import TrainingFiles, train_model

logger = logging.getLogger("equinuclei.training.tuning")

FOLDS = 5
"""One in this many groups is held out."""


@dataclass(frozen=True)
class _Trial:
    """What a candidate is tried on: all but its learning rate.

    rest, held_out : images to train on, and to score on; settings : the fields of `TrainingSettings` but
    `learning_rate`; seed : of the first weights and of the crops; code : digest of the code
    """

    spec: ModelSpec
    rest: Part
    held_out: Part
    settings: Mapping[str, Any]
    seed: int
    code: str

    def run(self, rate: float, folder: Path) -> dict[str, Any]:
        """Train with one learning rate, on one device, and score on the images held out: the entry of `candidates`.

        A candidate that collapses gets no other attempt: all start from the same weights.
        """
        settings = replace(
            TrainingSettings.from_mapping({**self.settings, "learning_rate": rate}), devices=1, attempts=1
        )
        tried: dict[str, Any] = {"learning_rate": settings.learning_rate}
        files = TrainingFiles.inside(folder)
        start = time.monotonic()
        try:
            train_model(self.spec, self.rest, None, settings, seed=self.seed, files=files, code=self.code)
        except DivergedError as error:
            logger.warning("learning rate %g: %s", settings.learning_rate, error)
            return tried | {"F1": 0.0, "loss": None, "seconds": round(time.monotonic() - start, 2), "diverged": True}
        score = self._score(files.weights, settings)
        logger.info("learning rate %g: F1 %.4f", settings.learning_rate, score)
        loss = float(read_table(files.history, "study/history.csv", ["train_loss"])["train_loss"].iloc[-1])
        seconds = read_run(files.run)["train_seconds"]
        return tried | {"F1": score, "loss": loss, "seconds": seconds, "diverged": False}

    def _score(self, weights: Path, settings: TrainingSettings) -> float:
        """F1 of the images held out, from pixel counts summed over them."""
        device = prepare_torch(settings.device, settings.torch_threads, deterministic=True)
        network = load_model(weights, device)
        maps = (predict_transforms(network, image, [IDENTITY], device)[IDENTITY] for image in self.held_out.images)
        predictions = [target_of(self.spec.target).codes(of_image).ravel() > 0 for of_image in maps]
        truths = [target.ravel() > 0 for target in self.held_out.targets]
        return pixel_scores(np.concatenate(truths), np.concatenate(predictions))["F1"]


def choose_learning_rate(
    spec: ModelSpec,
    training: Part,
    settings: Mapping[str, Any],
    candidates: Sequence[float],
    *,
    seed: int,
    output: str | Path,
    code: str = "",
    record: Mapping[str, Any] | None = None,
) -> None:
    """Train a model with every candidate on four fifths of the training part, and keep the best on the last fifth.

    Whole groups are held out (`hold_out`). Every candidate starts from the same weights and sees the same crops. The
    best has the highest F1, from pixel counts summed over the whole images held out, predicted in float32; of equal
    ones it is the smallest. A candidate whose loss diverges has F1 0 and is never chosen. Interrupted tuning continues
    where it stopped, if code, spec, settings, candidates, seed and data are the same.

    Parameters
    ----------
    training : the training part of the study, nothing else, with truths of the spec's target; its fields have the
        columns cell_line and group
    settings : the fields of `TrainingSettings` but `learning_rate`; `epochs` is for how long a candidate is trained
    candidates : learning rates, in any order
    seed : of the groups held out, the weights and the crops
    output : JSON: `learning_rate`, the chosen one; `candidates`, ascending, each with its F1, the training loss of its
        last epoch (null if it diverged), seconds of training and whether it diverged; `tuning_epochs`, settings,
        image_ids trained on and held out, seed, versions
    code : digest of the code
    record : further plain values to keep in `output`

    Raises InputError if the part has fewer than two groups, the images held out have no nucleus, every candidate
    diverges, or as `train_model` does.
    """
    rates = sorted(candidates)
    held = hold_out(training.fields, seed)
    rest, held_out = training.subset(~held), training.subset(held)
    if not any(target.any() for target in held_out.targets):
        raise InputError(
            f"none of the {len(held_out.images)} training images held out to choose the learning rate has a nucleus; "
            "give one number as `learning_rate`, or another first seed"
        )
    logger.info("%d learning rates: %d images to train, %d held out", len(rates), len(rest.images), held.sum())
    trial = _Trial(spec, rest, held_out, settings, seed, code)
    torch_version = package_versions()["torch"]
    key = [code, spec.to_dict(), dict(settings), rates, seed, training.fields.to_dict("list"), training.crops]

    output, made_from = Path(output), digest([*key, torch_version])

    def is_finished(_waited: bool = False) -> bool:
        return is_made(output, made_from, [])

    def choose(folder: Path) -> None:
        tried = [_try(trial, rate, folder, str(number)) for number, rate in enumerate(rates)]
        entries = {**(record or {}), **_record(trial, tried, _best(tried)), "key": made_from, "files": {}}
        write_json(folder / output.name, entries)
        put_in_place(folder, [output], is_finished)

    with_scratch_folder(output, made_from, choose, is_finished=is_finished)


def _try(trial: _Trial, rate: float, folder: Path, number: str) -> dict[str, Any]:
    """Try a candidate, or read what came of it before an interruption."""
    done = done_record(folder, number)
    if done is None:
        done = trial.run(rate, folder / number)
        mark_done(folder, number, done)
    return done


def _record(trial: _Trial, tried: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> dict[str, Any]:
    """What is written about the choice."""
    settings = trial.settings
    return {
        "learning_rate": best["learning_rate"],
        "candidates": tried,
        "tuning_epochs": settings["epochs"],
        "spec": trial.spec.to_dict(),
        "training": {key: value for key, value in settings.items() if key != "epochs"},
        "seed": trial.seed,
        "trained_on": trial.rest.fields["image_id"].tolist(),
        "held_out": trial.held_out.fields["image_id"].tolist(),
        "code_sha256": trial.code,
        "code_version": code_version(),
        "packages": package_versions(),
        "lock": locked_packages(),
        "hardware": hardware(),
    }


def hold_out(fields: pd.DataFrame, seed: int) -> np.ndarray:
    """Which rows of a part are held out: a fifth of its groups, at least one, in equal shares of the cell lines.

    fields : columns cell_line and group. Returns bool, a value per row; a group is held out as a whole or not at all.
    Depends on `seed`, the groups and their cell lines, not on the order of rows. Raises InputError if there are fewer
    than two groups.
    """
    groups = fields[["group", "cell_line"]].drop_duplicates("group")
    if len(groups) < 2:
        raise InputError(
            f"the training part has {len(groups)} group of images, and choosing a learning rate takes two, one to "
            "train on and one to hold out; give one number as `learning_rate`"
        )
    count = max(1, round(len(groups) / FOLDS))
    # A row per group instead of per image: so dealt, whole groups always meet the sizes, however large they are.
    table = groups.assign(image_id=groups["group"], split="")
    dealt = split_dataset(table, [len(groups) - count, count, 0], seed)
    return fields["group"].isin(dealt.loc[dealt["part"] == "val", "group"]).to_numpy()


def _best(tried: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The candidate with the highest F1, of equal ones the first; warns of a doubtful choice."""
    rates = ", ".join(f"{candidate['learning_rate']:g}" for candidate in tried)
    left = [candidate for candidate in tried if not candidate["diverged"]]
    if not left:
        raise InputError(f"the training loss diverges with every candidate of `learning_rate` ({rates}): lower them")
    best = max(left, key=lambda candidate: candidate["F1"])
    logger.info("chosen: learning rate %g of %s", best["learning_rate"], rates)
    if best["F1"] == 0:
        logger.warning("no candidate finds a nucleus in the images held out: raise `tuning_epochs`")
    elif best in (tried[0], tried[-1]):
        logger.warning(
            "the best lies at the edge of the candidates: %g of %s; beyond it may be a better one",
            best["learning_rate"], rates,
        )  # fmt: skip
    return best
