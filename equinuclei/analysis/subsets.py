"""Scores of models trained on subsets of the training part to tables: learning curves, and cell lines left out.

`points` are mappings of name, that of a trained model; model, that of the model of the study which it is or is derived
from; subset, the name of what it learns from; and `without`, the cell line left out, if one is. `values` are those of
`contrasts.image_values`. Intervals, tests and verdicts are those of `equinuclei.analysis.contrasts`.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.analysis.contrasts import (
    MEASURES,
    SCORES,
    FailedTraining,
    contrast_table,
    contrasts_by_cell_line,
    image_values,
    interval_table,
)
from equinuclei.analysis.failures import failed_trainings, find_failures
from equinuclei.analysis.statistics import in_order
from equinuclei.tables.files import read_table, write_table

logger = logging.getLogger("equinuclei.analysis.subsets")

_SIZES = ["train_groups", "train_images"]
_NOT_SCORED = "no image of the cell line with a nucleus is scored"


def aggregate_learning_curve(
    scores: Sequence[str | Path],
    *,
    subsets: str | Path,
    points: Sequence[Mapping[str, str]],
    equivariant: Collection[str],
    curve: str | Path,
    contrasts: str | Path,
) -> None:
    """Write the learning curves of a data set.

    scores : scores.parquet of every training of the points; subsets : the table of `subsets.list_subsets`;
    equivariant : as for `contrasts.contrast_table`. Writes `curve` (`learning_curve_table`) and `contrasts`
    (`learning_curve_contrasts`), TSV.
    """
    values, failed = _read(scores)
    sizes = subset_sizes(read_table(subsets, "study/subsets.tsv"))
    write_table(learning_curve_table(values, points, sizes, failed), curve)
    write_table(learning_curve_contrasts(values, points, sizes, equivariant, failed), contrasts)


def aggregate_left_out(
    scores: Sequence[str | Path],
    *,
    points: Sequence[Mapping[str, str]],
    equivariant: Collection[str],
    left_out: str | Path,
) -> None:
    """Write `left_out_table` as TSV. scores : scores.parquet of every training of the points."""
    values, failed = _read(scores)
    write_table(left_out_table(values, points, equivariant, failed), left_out)


def _read(paths: Sequence[str | Path]) -> tuple[pd.DataFrame, set[FailedTraining]]:
    """Values of the images from scores.parquet of trainings, and the trainings that failed, which the log tells."""
    scores = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    failures = find_failures(scores)
    for row in failures.to_dict("records"):
        logger.warning(
            "%s (%s): seed %s %s. Its numbers are no evidence, and no verdict rests on them.",
            row["model"], row["modality"], row["seed"], row["reason"],
        )  # fmt: skip
    return image_values(scores), failed_trainings(failures)


def subset_sizes(subsets: pd.DataFrame) -> pd.DataFrame:
    """train_groups and train_images of every modality and subset: means over seeds, as groups may differ in size.

    subsets : columns modality, subset, seed (missing where a subset is the same for all), group, images; a row per
    group.
    """
    by_seed = subsets.groupby(["modality", "subset", "seed"], sort=False, dropna=False)
    sizes = by_seed.agg(train_groups=("group", "size"), train_images=("images", "sum"))
    sizes = sizes.groupby(["modality", "subset"], sort=False).mean().reset_index()
    return sizes.astype({"train_groups": int})


def learning_curve_table(
    values: pd.DataFrame,
    points: Sequence[Mapping[str, str]],
    sizes: pd.DataFrame,
    failed: Collection[FailedTraining] = (),
) -> pd.DataFrame:
    """`contrasts.interval_table` of every point of the curves.

    Returns dataset, modality, model, inference, train_groups, train_images, measure, images, groups, seeds, value, low,
    high and note; the train_... are what the networks have learnt from, images and groups what they are scored on.
    """
    table = _with_sizes(interval_table(values, [point["name"] for point in points], failed), points, sizes)
    columns = ["dataset", "modality", "model", "inference", *_SIZES, "measure"]
    columns += ["images", "groups", "seeds", "value", "low", "high", "note"]
    return in_order(table[columns], [], _models(points))


def learning_curve_contrasts(
    values: pd.DataFrame,
    points: Sequence[Mapping[str, str]],
    sizes: pd.DataFrame,
    equivariant: Collection[str],
    failed: Collection[FailedTraining] = (),
) -> pd.DataFrame:
    """`contrasts.contrast_table` of the models trained on the same subset, all exploratory.

    A row per dataset, modality, subset, pair and measure, with the columns train_groups and train_images.
    """
    tables = []
    for subset in dict.fromkeys(point["subset"] for point in points):
        models = {point["name"]: point["model"] for point in points if point["subset"] == subset}
        of_subset = values[values["model"].isin(models)]
        table = contrast_table(
            of_subset.assign(model=of_subset["model"].map(models)),
            equivariant=equivariant,
            order=_models(points),
            failed=[(models[name], modality, seed) for name, modality, seed in failed if name in models],
        )
        tables.append(table.assign(subset=subset))
    table = pd.concat(tables, ignore_index=True).merge(sizes, on=["modality", "subset"])
    table = table.sort_values(["dataset", "modality", "train_groups"], kind="stable", ignore_index=True)
    keys = ["dataset", "modality", *_SIZES]
    # Nothing here is declared.
    of_declared = ("p_holm", "p_equivalent_holm", "seeds_needed")
    return table[[*keys, *(column for column in table if column not in (*keys, "subset", *of_declared))]]


def left_out_table(
    values: pd.DataFrame,
    points: Sequence[Mapping[str, str]],
    equivariant: Collection[str],
    failed: Collection[FailedTraining] = (),
) -> pd.DataFrame:
    """What leaving a cell line out of training costs: scores of the models with and without it, on its images.

    Returns
    -------
    A row per dataset, modality, cell_line, model, inference and measure: images and groups (of that cell line, scored)
    and seeds; without and with, the estimates of the model trained without and with the cell line; difference, the
    former less the latter; low and high, its 95 % interval; p; verdict, on the model trained without; note. Nothing is
    corrected for the number of rows. A cell line of which no image with a nucleus is scored has a row per score,
    without numbers and with a note.
    """
    tables = []
    for point in points:
        if "without" not in point:
            continue
        here = values[(values["cell_line"] == point["without"]) & values["model"].isin([point["name"], point["model"]])]
        modes = here["inference"].unique()
        pairs = [
            {"a": point["name"], "a_inference": mode, "b": point["model"], "b_inference": mode, "measure": measure}
            for mode, measure in product(modes, MEASURES)
        ]
        both = {point["name"], point["model"]} if point["model"] in equivariant else ()
        table = contrasts_by_cell_line(here, pairs, both, failed=failed)
        told = pd.concat([part for part in (table, _not_scored(values, point, table)) if len(part)])
        tables.append(told.assign(model=point["model"]))
    table = pd.concat(tables, ignore_index=True)
    table = table.rename(columns={"a_inference": "inference", "a_value": "without", "b_value": "with"})
    columns = ["dataset", "modality", "cell_line", "model", "inference", "measure", "images", "groups", "seeds"]
    columns += ["without", "with", "difference", "low", "high", "p", "verdict", "note"]
    return in_order(table[columns], ["cell_line"], _models(points))


def _not_scored(values: pd.DataFrame, point: Mapping[str, str], table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `contrasts_by_cell_line` without numbers, where a point's cell line has none in `table`."""
    keys = ["dataset", "modality"]
    of_model = values[values["model"] == point["model"]]
    nets = of_model[[*keys, "inference"]].drop_duplicates()
    nets = nets[~nets.set_index(keys).index.isin(table.set_index(keys).index)]
    rows = nets.rename(columns={"inference": "a_inference"}).merge(pd.DataFrame({"measure": SCORES}), how="cross")
    empty = dict.fromkeys(("a_value", "b_value", "difference", "low", "high", "p"), np.nan)
    counts = {"images": 0, "groups": 0, "seeds": of_model["seed"].nunique()}
    return rows.assign(cell_line=point["without"], verdict="not decided", note=_NOT_SCORED, **counts, **empty)


def _with_sizes(table: pd.DataFrame, points: Sequence[Mapping[str, str]], sizes: pd.DataFrame) -> pd.DataFrame:
    """`table` with the models of the study in the place of the trained ones, and the sizes of their subsets."""
    named = pd.DataFrame(points)[["name", "model", "subset"]]
    table = table.rename(columns={"model": "name"}).merge(named, on="name")
    return table.merge(sizes, on=["modality", "subset"])


def _models(points: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(point["model"] for point in points))
