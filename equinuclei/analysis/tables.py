"""The tables of a study as files: from the scores and records of all models of a data set."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from equinuclei.analysis.contrasts import MARGIN, contrast_table, contrasts_by_cell_line, image_values, interval_table
from equinuclei.analysis.failures import failed_trainings, failure_sentences, find_failures
from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.machines import machine_sentences
from equinuclei.analysis.statistics import (
    crops_as_images,
    difference_reduction,
    f1_by_cell_line,
    f1_by_threshold,
    f1_difference,
    f1_difference_table,
    f1_table,
    format_table,
)
from equinuclei.runtime.files import replacing
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.analysis.tables")

_F1_SHOWN = {
    "model": "model",
    "inference": "inference",
    "images": "images",
    "parameters": "parameters",
    "gflops": "GFLOP",
    "train_seconds": "train s",
    "train_cpu_seconds": "CPU s",
    "pixel_F1": "pixel F1",
    "pixel_F1_pooled": "pooled",
    "otsu_pixel_F1": "(Otsu)",
    "object50_F1": "object F1",
    "object50_F1_pooled": "pooled ",
    "otsu_object50_F1": "(Otsu) ",
}
_DIFFERENCE_SHOWN = {
    "model": "model",
    "inference": "inference",
    "level": "level",
    "comparisons": "comparisons",
    "left_out": "left out",
    "parameters": "parameters",
    "gflops": "GFLOP",
    "train_seconds": "train s",
    "train_cpu_seconds": "CPU s",
    "mean": "mean",
    "mean_absolute": "mean abs.",
    "max_absolute": "max abs.",
    "exact_zeros": "exact zeros",
    "identical_masks": "same masks",
    "different_masks": "others",
}
_CONTRASTS_SHOWN = {
    "a": "a",
    "b": "b",
    "measure": "measure",
    "a_value": "a: value",
    "b_value": "b: value",
    "difference": "a - b",
    "interval": "95 % interval",
    "p_holm": "p (Holm)",
    "verdict": "a is",
    "note": "",
}


@dataclass(frozen=True)
class Comparison:
    """What a study compares.

    models : their names in the order of the tables
    twins : the plain twin of every model that has one (`equinuclei.analysis.statistics.difference_reduction`)
    contrasts : those that were declared (`equinuclei.analysis.contrasts.contrast_table`)
    equivariant : names of the models whose architecture is equivariant under quarter turns
    """

    models: Sequence[str]
    twins: Mapping[str, str]
    contrasts: Sequence[Mapping[str, str]]
    equivariant: Collection[str]


def aggregate_f1(study: StudyFolder, compared: Comparison) -> None:
    """Write the tables of a data set from the scores of all of its models.

    study : with scores, crop_scores and runs. Into its folder of tables come, as TSV, f1, f1_by_cell_line,
    f1_by_threshold, f1_difference, f1_difference_crops (as f1_difference, where every crop is an image) and
    difference_reduction (see `equinuclei.analysis.statistics`), intervals, contrasts and contrasts_by_cell_line (see
    `equinuclei.analysis.contrasts`); every single difference as parquet, f1_differences and f1_differences_crops; and
    summary.txt, for the terminal. Trainings that failed (see `equinuclei.analysis.failures`) are marked and told.
    """
    scores, models = study.all_scores, compared.models
    failures = find_failures(scores, compared.twins)
    costs = training_costs(study.records)
    values = image_values(scores)
    crops = crops_as_images(study.all_crop_scores)
    f1 = f1_table(scores, costs, models, failures)
    difference = f1_difference_table(scores, costs, models, failures)
    for _, sentence in failure_sentences(f1):
        logger.warning("%s", sentence)
    failed = failed_trainings(failures)
    contrasts = contrast_table(values, compared.contrasts, compared.equivariant, models, failed)
    by_line = contrasts_by_cell_line(values, compared.contrasts, compared.equivariant, models, failed)
    tables = {
        "f1": f1,
        "f1_by_cell_line": f1_by_cell_line(scores, costs, models),
        "f1_by_threshold": f1_by_threshold(scores, models),
        "f1_difference": difference,
        "f1_difference_crops": f1_difference_table(crops, costs, models, failures),
        "difference_reduction": difference_reduction(difference, compared.twins, models),
        "intervals": interval_table(values, models, failed),
        "contrasts": contrasts,
        "contrasts_by_cell_line": by_line,
    }
    for name, table in tables.items():
        write_table(table, study.table_file(name))
    for name, of in (("f1_differences", scores), ("f1_differences_crops", crops)):
        with replacing(study.differences_file(name)) as temporary:
            f1_difference(of, failures).to_parquet(temporary, index=False)
    with replacing(study.tables / "summary.txt") as temporary:
        temporary.write_text(_summary(f1, difference, contrasts, machine_sentences(study.records)), encoding="utf-8")


def training_costs(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Model, modality, seed, parameters, gflops, train_seconds and train_cpu_seconds of every training, a row each.

    records : of the trainings, run.json.
    """
    columns = ["model", "modality", "seed", "parameters", "gflops", "train_seconds", "train_cpu_seconds"]
    return pd.DataFrame(records)[columns]


def _summary(f1: pd.DataFrame, difference: pd.DataFrame, contrasts: pd.DataFrame, machines: Sequence[str]) -> str:
    """The tables as text, sections per modality, the declared contrasts, and the machines; before all, what failed.

    F1 of "exact" is left out: it is that of "deployed" to rounding.
    """
    told = [sentence for _, sentence in failure_sentences(f1)]
    sections = ["".join(f"{sentence}\n" for sentence in told)] if told else []
    for (dataset, modality), rows in f1.groupby(["dataset", "modality"], sort=False):
        of_modality = difference[(difference["dataset"] == dataset) & (difference["modality"] == modality)]
        sections += [
            f"{dataset}, {modality}: F1 (objects at IoU 0.5)\n{_format(rows[rows['inference'] != 'exact'], _F1_SHOWN)}",
            f"{dataset}, {modality}: f1-score_difference between an image and its rotations\n"
            f"{_format(of_modality, _DIFFERENCE_SHOWN)}",
        ]
    for (dataset, modality), rows in contrasts.groupby(["dataset", "modality"], sort=False):
        declared = rows[rows["kind"] == "declared"]
        sections.append(f"{dataset}, {modality}: declared contrasts\n{_contrasts(declared)}")
    sections += ["".join(f"{sentence}\n" for sentence in machines)] if machines else []
    return "\n".join(sections)


def _contrasts(declared: pd.DataFrame) -> str:
    """The declared contrasts of one modality as text, with what their intervals cover."""
    if declared.empty:
        return "none (`contrasts` of the configuration); contrasts.tsv has every pair, exploratory\n"
    intervals = declared[["low", "high"]].itertuples(index=False, name=None)
    shown = declared.assign(
        interval=["-" if np.isnan(low) else f"{low:+.4f} to {high:+.4f}" for low, high in intervals],
        **{
            end: declared[end].where(
                declared[f"{end}_inference"] == "deployed", declared[end] + ", " + declared[f"{end}_inference"]
            )
            for end in "ab"
        },
    )
    groups, seeds = declared["groups"].max(), declared["seeds"].max()
    over = f"{groups} groups of images" + (f" and {seeds} seeds" if seeds > 1 else "; one seed: not over trainings")
    return (
        f"{_format(shown, _CONTRASTS_SHOWN)}"
        f"Intervals over {over}. Equivalent: within {MARGIN:g}. contrasts.tsv has every pair, exploratory.\n"
    )


def _format(table: pd.DataFrame, shown: dict[str, str]) -> str:
    return format_table(table.rename(columns=shown), list(shown.values()))
