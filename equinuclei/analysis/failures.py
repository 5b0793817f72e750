"""Trainings that failed: their numbers are no evidence, whatever a table makes of them.

A training that collapsed predicts the same of every image, and so of every rotation of it: its f1-score_difference is 0
without any steadiness, and its F1 tells of an accident, not of its model. A training has failed, by what it predicts of
the images as they are, as deployed, if the truth has nuclei and

1. it finds **nothing**, or almost nothing: less than `FEW` of the area of the true nuclei, or no object at all; or
2. it takes **everything** for nucleus: less than `FEW` of the area of the true background is left; or
3. its F1 by pixels, mean over images, is **far below** both that of Otsu's threshold on the same images and that of its
   plain twin (median over the twin's seeds; without a twin, that of the model's other seeds): below `FAR` of either.

`FEW` (`equinuclei.images.pixel_metrics`): such a training has an F1 of 2 FEW / (1 + FEW), 0.02, at most, or is worse
than no segmentation.

`FAR`: trainings of one model scatter. If the standard deviation of their F1 is as much as 12 % of the mean, 0.5 lies
four standard deviations away: fewer than one of 30,000 sound trainings fall below it (the tests simulate that). In the
studies of docs/results.md no model had less than 0.9 of its twin's F1 by pixels. That it must be far below Otsu's
threshold too spares a model that is weak because its images are hard: in brightfield Otsu's F1 is near 0.2, and a
network that reaches 0.4 has learnt. Trainings that fail by 1 or 2 are no measure for others.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from equinuclei.images.pixel_metrics import constant_prediction
from equinuclei.specs import OTSU

FAR = 0.5
"""Share of the F1 of others below which an F1 is far below theirs."""

_TRAINING = ["dataset", "modality", "model", "seed"]
_MODEL = ["dataset", "modality", "model"]
_AREAS = ["pixel_TP", "pixel_FP", "pixel_FN", "pixel_TN"]
_OBJECTS = ["object50_TP", "object50_FP", "object50_FN"]


def find_failures(scores: pd.DataFrame, twins: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The trainings that failed; see the module.

    Parameters
    ----------
    scores: as `equinuclei.analysis.statistics` describes them. Without Otsu's threshold, F1 are not compared.
    twins: the plain twin of every model that has one; a model may be its own.

    Returns
    -------
    A row per training that failed: dataset, modality, model, seed, and reason, in words that follow on "seed 1", such
    as "finds nothing". Without failures, no row.
    """
    plain = scores[(scores["inference"] == "deployed") & (scores["rotation"] == 0) & ~scores["mirrored"].astype(bool)]
    by_training = plain.groupby(_TRAINING, sort=False, observed=True)
    trainings = by_training[[*_AREAS, *_OBJECTS]].sum().join(by_training["pixel_F1"].mean()).reset_index()
    of_otsu = trainings["model"] == OTSU
    floors = trainings[of_otsu].set_index(["dataset", "modality"])["pixel_F1"]
    trainings = trainings[~of_otsu]
    constant = [_constant(row) for row in trainings.to_dict("records")]
    sound = trainings[[not reason for reason in constant]]
    found = []
    for reason, row in zip(constant, trainings.to_dict("records"), strict=True):
        told = reason or _far_below(row, floors.get((row["dataset"], row["modality"]), np.nan), sound, twins or {})
        if told:
            found.append({name: row[name] for name in _TRAINING} | {"reason": told})
    return pd.DataFrame(found, columns=[*_TRAINING, "reason"])


def with_failures(table: pd.DataFrame, failures: pd.DataFrame | None) -> pd.DataFrame:
    """A table of models with failed (number of trainings), failed_seeds ("1, 3") and failure (the reasons) of each.

    table: a row per dataset, modality, model and what else. failures: of `find_failures`; None is as without rows.
    """
    columns = ["failed", "failed_seeds", "failure"]
    by_model: dict[tuple, pd.DataFrame] = {}
    if failures is not None:
        by_model = {tuple(key): part.sort_values("seed") for key, part in failures.groupby(_MODEL, observed=True)}
    rows = []
    for key in table[_MODEL].itertuples(index=False, name=None):
        part = by_model.get(key)
        if part is None:
            rows.append((0, "", ""))
            continue
        reasons = [f"seed {seed} {reason}" for seed, reason in zip(part["seed"], part["reason"], strict=True)]
        rows.append((len(part), ", ".join(map(str, part["seed"])), "; ".join(reasons)))
    return table.assign(**pd.DataFrame(rows, columns=columns, index=table.index).to_dict("series"))


def failed_seeds(f1: pd.DataFrame) -> dict[tuple[str, str], list[int]]:
    """The failed seeds of every modality and model that has some. f1: of `statistics.f1_table`, for one data set."""
    rows = f1[(f1["inference"] == "deployed") & (f1["failed"] > 0)]
    return {
        (row["modality"], row["model"]): [int(seed) for seed in row["failed_seeds"].split(", ")]
        for row in rows.to_dict("records")
    }


def failed_trainings(failures: pd.DataFrame) -> set[tuple[str, str, int]]:
    """Model, modality and seed of the trainings that failed. failures: of `find_failures`, for one data set."""
    return {(model, modality, int(seed)) for _, modality, model, seed in failures[_TRAINING].itertuples(index=False)}


def failure_sentences(f1: pd.DataFrame) -> list[tuple[str, str]]:
    """What is told of failed trainings, as (modality, sentence) for every model that has some.

    f1: of `statistics.f1_table`.
    """
    rows = f1[(f1["inference"] == "deployed") & (f1["failed"] > 0)]
    return [(row["modality"], _sentence(row)) for row in rows.to_dict("records")]


def tells_failure(note: str) -> bool:
    """Whether a note of a table of `equinuclei.analysis.contrasts` tells of a failed training."""
    return "failed" in note


def _sentence(row: Mapping) -> str:
    of = f"{row['failed']} of {row['seeds']} training{'s' * (row['seeds'] != 1)} of {row['model']} ({row['modality']})"
    whose = "Its" if row["failed"] == 1 else "Their"
    return (
        f"{of} failed: {row['failure']}. {whose} numbers are no evidence, and no verdict rests on them; train again, "
        "longer, with a lower learning rate or with other seeds."
    )


def says_nothing(pairs: pd.DataFrame, level: str, failures: pd.DataFrame | None) -> pd.Series:
    """Which comparisons of two predictions (bool, one per row) say nothing of how steady a model is.

    Both predictions are empty though the truth has nuclei, or the training failed.

    Parameters
    ----------
    pairs: dataset, modality, model and seed; counts of one prediction as `pixel_TP`, and of the other as
        `pixel_TP_reference`, likewise FP and FN, and those of `level`.
    level: pixel or object50.
    failures: of `find_failures`; None is as without rows.
    """
    nothing = pd.Series(True, index=pairs.index)
    for suffix in ("", "_reference"):
        nothing &= (pairs[f"{level}_TP{suffix}"] == 0) & (pairs[f"{level}_FP{suffix}"] == 0)
    nothing &= pairs[f"{level}_FN"] > 0
    if failures is None or failures.empty:
        return nothing
    failed = set(failures[_TRAINING].itertuples(index=False, name=None))
    of_failed = [training in failed for training in pairs[_TRAINING].itertuples(index=False, name=None)]
    return nothing | pd.Series(of_failed, index=pairs.index)


def _constant(row: Mapping) -> str:
    """Why a training fails by what it finds alone, or "". row: its counts, summed over images."""
    constant = constant_prediction(*(row[f"pixel_{count}"] for count in ("TP", "FP", "FN", "TN")))
    if constant or row["pixel_TP"] + row["pixel_FN"] == 0:
        return constant
    if row["object50_TP"] + row["object50_FP"] == 0 and row["object50_FN"] > 0:
        return "finds specks, and not one nucleus"
    return ""


def _far_below(row: Mapping, floor: float, sound: pd.DataFrame, twins: Mapping[str, str]) -> str:
    """Why a training fails by its F1, or "". floor: of Otsu; sound: the trainings that are not constant."""
    twin = twins.get(row["model"], row["model"])
    same = sound[(sound["dataset"] == row["dataset"]) & (sound["modality"] == row["modality"])]
    own = twin == row["model"]
    others = same[(same["model"] == twin) & (same["seed"] != row["seed"])] if own else same[same["model"] == twin]
    reference = _median(others["pixel_F1"])
    if not row["pixel_F1"] < FAR * np.minimum(floor, reference):  # NaN: nothing to compare with
        return ""
    name = "its other seeds have" if own else f"{twin} has"
    return f"finds little: its F1 is {row['pixel_F1']:.3f}, Otsu's threshold has {floor:.3f}, {name} {reference:.3f}"


def _median(values: Iterable[float]) -> float:
    found = [value for value in values if np.isfinite(value)]
    return float(np.median(found)) if found else np.nan
