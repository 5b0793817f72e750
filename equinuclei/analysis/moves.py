"""How much the scores of models change when an image is turned between the quarter turns, or shifted, to a table.

`moved` is the concatenation of the `turns_and_shifts.parquet` of all models and of Otsu's threshold: a row per image
and move (`equinuclei.evaluation.moved`). The f1-score difference is F1 of the image as it is minus F1 of the moved one,
in the region that both show. Intervals are those of `equinuclei.analysis.resampling`: groups of images and seeds are
random. Nothing is corrected for the number of rows.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from equinuclei.analysis.differences import differences_of
from equinuclei.analysis.failures import find_failures, says_nothing
from equinuclei.analysis.resampling import Estimates, estimates
from equinuclei.analysis.statistics import LEVELS, in_order
from equinuclei.specs import OTSU
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.analysis.moves")

KINDS = ("turn", "shift")

_MOVE = ["move", "amount", "level"]
_IMAGE = ["cell_line", "group", "image_id"]
_SIZES = ["images", "groups", "seeds"]
_COLUMNS = ["dataset", "modality", "model", "inference", *_MOVE, *_SIZES, "too_small", "comparisons", "left_out"]
_COLUMNS += ["mean_absolute", "low", "high", "max_absolute", "exact_zeros", "otsu_mean_absolute"]
_COLUMNS += ["twin", "twin_difference", "twin_low", "twin_high"]


def aggregate_moves(
    moved: Sequence[str | Path],
    scores: Sequence[str | Path],
    *,
    models: Sequence[str],
    twins: Mapping[str, str],
    table: str | Path,
) -> None:
    """Write `moves_table` as TSV.

    moved, scores : turns_and_shifts.parquet and scores.parquet of every training and of Otsu's threshold; models, twins
    : as of `equinuclei.analysis.tables.Comparison`.
    """
    read = [pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True) for paths in (moved, scores)]
    found = moves_table(read[0], find_failures(read[1], twins), models, twins)
    for modality, count in found.groupby("modality")["too_small"].max().items():
        if count:
            logger.warning("%s: %d images are too small for the largest shifts", modality, count)
    write_table(found, table)


def moves_table(
    moved: pd.DataFrame, failures: pd.DataFrame, order: Sequence[str], twins: Mapping[str, str]
) -> pd.DataFrame:
    """The absolute f1-score difference under every move.

    Parameters
    ----------
    moved: see the module.
    failures: of `failures.find_failures`.
    order: names of models in the order wanted.
    twins: the plain twin of every model that has one; a model may be its own, and is then compared with none.

    Returns
    -------
    A row per dataset, modality, model, inference, move ("turn" or "shift"), amount (degrees or pixels) and level:
    images, groups and seeds (numbers of, that count); too_small, the number of images that this shift leaves too little
    of (`evaluation.moves.shifts_of`); comparisons, and left_out, those that say nothing and count
    nowhere else (`failures.says_nothing`); mean_absolute, the mean over images, then over seeds, and its 95 % interval
    low and high; max_absolute; exact_zeros, the share (0 to 1) of differences that are exactly 0; otsu_mean_absolute,
    the floor; twin, its name; twin_difference, mean_absolute less that of the twin on the same images and seeds, and
    its 95 % interval twin_low and twin_high. All is NaN where nothing counts.
    """
    comparisons = _comparisons(moved, failures)
    images = moved.groupby(["dataset", "modality"])["image_id"].nunique()
    moved_images = moved.groupby(["dataset", "modality", "move", "amount"])["image_id"].nunique()
    too_small = images - moved_images
    rows: list[dict[str, Any]] = []
    for (dataset, modality, *move), part in comparisons.groupby(["dataset", "modality", *_MOVE], sort=False):
        nets = dict(iter(part.groupby(["model", "inference"], sort=False)))
        floor = next((_mean(of_net) for (model, _), of_net in nets.items() if model == OTSU), np.nan)
        for (model, inference), of_net in nets.items():
            row = {"dataset": dataset, "modality": modality, "model": model, "inference": inference}
            row |= dict(zip(_MOVE, move, strict=True)) | _summary(of_net) | {f"{OTSU}_mean_absolute": floor}
            row["too_small"] = too_small[dataset, modality, move[0], move[1]]
            twin = twins.get(model, model)
            of_twin = nets.get((twin, inference)) if twin != model else None
            rows.append(row | _against_twin(of_net, twin, of_twin))
    return _in_order(pd.DataFrame(rows, columns=_COLUMNS), order)


def _comparisons(moved: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """A row per image, move and level, with absolute, the absolute difference, and left_out (bool)."""
    parts = []
    for level in LEVELS:
        part = moved.assign(level=level, absolute=differences_of(moved, level).abs())
        part["left_out"] = says_nothing(moved, level, failures)
        parts.append(part.dropna(subset="absolute"))
    return pd.concat(parts, ignore_index=True)


def _summary(of_net: pd.DataFrame) -> dict[str, Any]:
    """The columns of a net under one move, but those of the floor and the twin."""
    counted = of_net[~of_net["left_out"]]
    row: dict[str, Any] = {"comparisons": len(counted), "left_out": len(of_net) - len(counted)}
    if counted.empty:
        return row | dict.fromkeys(_SIZES, 0)
    found = _estimates(counted)
    value, low, high, _ = (float(part[0]) for part in found.interval(np.array([0])))
    row |= {**found.sizes, "mean_absolute": value, "low": low, "high": high}
    return row | {"max_absolute": counted["absolute"].max(), "exact_zeros": (counted["absolute"] == 0).mean()}


def _against_twin(of_net: pd.DataFrame, twin: str, of_twin: pd.DataFrame | None) -> dict[str, Any]:
    """The columns of a net's plain twin."""
    if of_twin is None:
        return {"twin": ""}
    sides = [side[~side["left_out"]] for side in (of_net, of_twin)]
    seeds = set(sides[0]["seed"]) & set(sides[1]["seed"])
    if not seeds:
        return {"twin": twin}
    found = _estimates(*(side[side["seed"].isin(seeds)] for side in sides))
    value, low, high, _ = (float(part[0]) for part in found.interval(np.array([0]), np.array([1])))
    return {"twin": twin, "twin_difference": value, "twin_low": low, "twin_high": high}


def _mean(of_net: pd.DataFrame) -> float:
    return float(of_net.loc[~of_net["left_out"], "absolute"].mean())


def _estimates(*nets: pd.DataFrame) -> Estimates:
    """Mean absolute differences of nets under one move, over the same images and seeds."""
    images = pd.concat(nets)[_IMAGE].drop_duplicates().sort_values(_IMAGE, ignore_index=True)
    tables = [net.pivot_table(index="image_id", columns="seed", values="absolute") for net in nets]
    values = np.stack([table.reindex(images["image_id"]).to_numpy().T for table in tables])
    counts = ~np.isnan(values)
    return estimates(np.where(counts, values, 0.0), counts.astype(float), images["group"], images["cell_line"])


def _in_order(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Turns before shifts, the smaller before the larger, within each the levels, and the models in order."""
    table = in_order(table, ["level"], order)
    place = table["move"].map(KINDS.index)
    return table.assign(place=place).sort_values(
        ["dataset", "modality", "place", "amount"], kind="stable", ignore_index=True
    )[_COLUMNS]
