"""The tables of a study as files: from the scores and records of all models of a data set."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.analysis.contrasts import MARGIN, contrast_table, contrasts_by_cell_line, image_values, interval_table
from equinuclei.analysis.statistics import (
    crops_as_images,
    difference_reduction,
    f1_by_cell_line,
    f1_by_threshold,
    f1_difference,
    f1_difference_table,
    f1_table,
    format_table,
    write_table,
)
from equinuclei.runtime.files import replacing
from equinuclei.runtime.provenance import read_run

logger = logging.getLogger("equinuclei.analysis.tables")

_F1_SHOWN = {
    "model": "model",
    "inference": "inference",
    "images": "images",
    "parameters": "parameters",
    "gflops": "GFLOP",
    "train_seconds": "train s",
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
    "parameters": "parameters",
    "gflops": "GFLOP",
    "train_seconds": "train s",
    "mean": "mean",
    "mean_absolute": "mean abs.",
    "max_absolute": "max abs.",
    "exact_zeros": "exact zeros",
    "identical_masks": "same masks",
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
_PIXELS = ["pixel_TP", "pixel_FP", "pixel_FN", "pixel_TN"]


def aggregate_f1(
    scores: Sequence[str | Path],
    *,
    crop_scores: Sequence[str | Path],
    runs: Sequence[str | Path],
    models: Sequence[str],
    twins: Mapping[str, str],
    declared: Sequence[Mapping[str, str]],
    equivariant: Collection[str],
    f1: str | Path,
    by_cell_line: str | Path,
    by_threshold: str | Path,
    difference: str | Path,
    differences: str | Path,
    difference_crops: str | Path,
    differences_crops: str | Path,
    reduction: str | Path,
    intervals: str | Path,
    contrasts: str | Path,
    contrasts_by_line: str | Path,
    summary: str | Path,
) -> None:
    """Aggregate the scores of all models of a data set.

    scores : scores.parquet of every model, and of Otsu's threshold; crop_scores and runs : crop_scores.parquet and
    run.json of every model; models : their names in the order of the tables; twins : see
    `equinuclei.analysis.statistics.difference_reduction`; declared and equivariant : see
    `equinuclei.analysis.contrasts.contrast_table`. Writes the TSV files `f1`, `by_cell_line`, `by_threshold`,
    `difference`, `difference_crops` (as `difference`, where every crop is an image) and `reduction` (see
    `equinuclei.analysis.statistics`), `intervals`, `contrasts` and `contrasts_by_line` (see
    `equinuclei.analysis.contrasts`), every single difference as parquet (`differences`, `differences_crops`), and a
    text for the terminal (`summary`).
    """
    table = pd.concat([pd.read_parquet(path) for path in scores], ignore_index=True)
    _warn_of_constant_predictions(table)
    records = read_runs(runs)
    summary_f1 = f1_table(table, records, models)
    summary_difference = f1_difference_table(table, records, models)
    write_table(summary_f1, f1)
    write_table(f1_by_cell_line(table, records, models), by_cell_line)
    write_table(f1_by_threshold(table, models), by_threshold)
    write_table(summary_difference, difference)
    values = image_values(table)
    compared = contrast_table(values, declared, equivariant, models)
    write_table(interval_table(values, models), intervals)
    write_table(compared, contrasts)
    write_table(contrasts_by_cell_line(values, declared, equivariant, models), contrasts_by_line)
    crops = crops_as_images(pd.concat([pd.read_parquet(path) for path in crop_scores], ignore_index=True))
    write_table(f1_difference_table(crops, records, models), difference_crops)
    write_table(difference_reduction(summary_difference, twins, models), reduction)
    for of, path in ((table, differences), (crops, differences_crops)):
        with replacing(path) as temporary:
            f1_difference(of).to_parquet(temporary, index=False)
    with replacing(summary) as temporary:
        temporary.write_text(_summary(summary_f1, summary_difference, compared), encoding="utf-8")


def read_runs(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Model, modality, seed, parameters, gflops and train_seconds of every run.json, a row each.

    Raises InputError if a file is missing or broken.
    """
    columns = ["model", "modality", "seed", "parameters", "gflops", "train_seconds"]
    return pd.DataFrame([read_run(path) for path in paths])[columns]


def _warn_of_constant_predictions(scores: pd.DataFrame) -> None:
    """A model that predicts no nucleus at all, or nucleus everywhere, has learnt nothing, and is trivially equivariant.

    Told of the networks as deployed: the other modes evaluate the same ones.
    """
    deployed = scores[scores["inference"] == "deployed"]
    pixels = deployed.groupby(["modality", "model", "seed"], sort=False, observed=True)[_PIXELS].sum()
    for (modality, model, seed), (TP, FP, FN, TN) in zip(pixels.index, pixels.to_numpy(), strict=True):
        for left, what in ((TP + FP, "no nucleus in any"), (TN + FN, "nothing but nucleus in every")):
            if left == 0:
                logger.warning(
                    "%s predicts %s %s image (seed %s): its difference of 0 means nothing; "
                    "train longer or with a lower learning rate",
                    model, what, modality, seed,
                )  # fmt: skip


def _summary(f1: pd.DataFrame, difference: pd.DataFrame, contrasts: pd.DataFrame) -> str:
    """The tables as text, sections per modality, then the declared contrasts.

    F1 of "exact" is left out: it is that of "deployed" to rounding.
    """
    sections = []
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
