"""Scores of all models to tables.

`scores` is everywhere the concatenation of the `scores.parquet` of all models: a row per dataset, model, inference,
modality, seed, image and transform, with the columns dataset, model, inference, modality, seed, image_id, cell_line,
group, part and those of `metrics.score_image`. `inference` is the inference mode, a key of `models.INFERENCES`; every
mode of a model has rows of its own in every table. The Otsu threshold takes part as a model named "otsu" with seed 0
and the mode "deployed": the floor that a trained model has to rise above.

`models` is a row per trained net: model, modality, seed, parameters, gflops (of one evaluation of the network),
train_seconds and train_cpu_seconds. A model without a row (Otsu) gets empty costs. `order` is the names of models in
the order wanted; others follow in order of appearance, Otsu is always last. The modes of a model stand in the order of
INFERENCES.

Two averages of F1 stand side by side. **Per image**: F1 of each image, then the mean over images, in which every image
weighs the same; images without a nucleus in truth and prediction have no F1 and are left out. **Pooled**: TP, FP and FN
summed over all images, then one F1, in which every pixel or object weighs the same. Both are taken per seed first and
then averaged over seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from equinuclei.analysis.differences import differences_of
from equinuclei.analysis.failures import says_nothing, with_failures
from equinuclei.specs import INFERENCES, OTSU

LEVELS = ("pixel", "object50")
"""Levels of the f1-score difference: by pixels, and by objects paired at an intersection over union of 0.5."""

_KEYS = ["dataset", "modality", "model", "inference"]
_FLOORED = ["pixel_F1", "pixel_F1_pooled", "object50_F1", "object50_F1_pooled"]
_MEANS = [
    "pixel_F1",
    "pixel_F1_sd",
    "pixel_F1_pooled",
    "pixel_precision",
    "pixel_recall",
    "pixel_IoU",
    "object50_F1",
    "object50_F1_pooled",
    "object50_precision",
    "object50_recall",
    "object50_AP",
    "object75_F1",
]
_PER_IMAGE = [column for column in _MEANS if not column.endswith(("_sd", "_pooled"))]
_COUNTS = [f"{level}_{count}" for level in LEVELS for count in ("TP", "FP", "FN")]
# What a model costs, and how that is taken over its seeds.
_COSTS = {"parameters": "first", "gflops": "first", "train_seconds": "mean", "train_cpu_seconds": "mean"}
_DIFFERENCE_COLUMNS = [*_KEYS, "level", "images", "comparisons", "left_out", *_COSTS]
_DIFFERENCE_COLUMNS += ["mean", "mean_absolute", "max_absolute", "exact_zeros", "agreement", "identical_masks"]
_DIFFERENCE_COLUMNS += ["different_masks", "different_masks_high"]
_FLOOR = [f"{OTSU}_{column}" for column in _FLOORED]


def f1_by_seed(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Scores of each trained net on the images as they are (neither rotated nor mirrored).

    Returns a row per dataset, modality, model, inference, the columns in `by`, and seed: the means over images of
    pixel_F1, pixel_precision, pixel_recall, pixel_IoU, object50_F1, object50_precision, object50_recall, object50_AP
    and object75_F1, and from summed counts pixel_F1_pooled and object50_F1_pooled. NaN where no image has the score.
    """
    plain = scores[(scores["rotation"] == 0) & ~scores["mirrored"].astype(bool)]
    grouped = plain.groupby([*_KEYS, *by, "seed"], sort=False, observed=True, dropna=False)
    means, counts = grouped[_PER_IMAGE].mean(), grouped[_COUNTS].sum()
    for level in LEVELS:
        hits = 2 * counts[f"{level}_TP"]
        total = hits + counts[f"{level}_FP"] + counts[f"{level}_FN"]
        means[f"{level}_F1_pooled"] = hits / total.where(total > 0)
    return means.reset_index()


def f1_table(
    scores: pd.DataFrame,
    models: pd.DataFrame,
    order: Sequence[str] | None = None,
    failures: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The comparison of models: a row per dataset, modality, model and inference, on the images as they are.

    Parameters as described in the module; failures: of `failures.find_failures`. Failed trainings count in all means.

    Returns
    -------
    dataset, modality, model, inference; images and seeds (numbers of); failed, failed_seeds and failure, see
    `failures.with_failures`; parameters; gflops, those of all evaluations
    that the mode makes for one image; train_seconds and train_cpu_seconds (means over seeds); pixel_F1, its standard
    deviation over seeds
    pixel_F1_sd (n - 1 in the denominator; NaN with one seed) and pixel_F1_pooled; pixel_precision, pixel_recall,
    pixel_IoU; object50_F1, object50_F1_pooled, object50_precision, object50_recall, object50_AP, object75_F1; and
    otsu_pixel_F1, otsu_pixel_F1_pooled, otsu_object50_F1, otsu_object50_F1_pooled: the floor, Otsu's scores on the same
    images (NaN where there are none). All but the pooled columns are per image.
    """
    columns = [*_KEYS, "images", "seeds", "failed", "failed_seeds", "failure", *_COSTS, *_MEANS, *_FLOOR]
    return in_order(with_failures(_with_costs(_summary(scores, []), models), failures), [], order)[columns]


def f1_by_cell_line(scores: pd.DataFrame, models: pd.DataFrame, order: Sequence[str] | None = None) -> pd.DataFrame:
    """`f1_table` per cell line: dataset, modality, cell_line, model, inference, and all its other columns."""
    columns = ["dataset", "modality", "cell_line", "model", "inference", "images", "seeds", *_COSTS, *_MEANS, *_FLOOR]
    table = _with_costs(_summary(scores, ["cell_line"]), models)
    return in_order(table, ["cell_line"], order)[columns]


def f1_by_threshold(scores: pd.DataFrame, order: Sequence[str] | None = None) -> pd.DataFrame:
    """Object scores at every threshold on the intersection over union, on the images as they are.

    Returns
    -------
    A row per dataset, modality, model, inference and threshold (0.5, ... 0.95): images and seeds (numbers of); F1,
    precision, recall, AP and PQ (see `metrics.object_scores`), each the mean over images, then over seeds; and from
    counts and overlaps summed over all images, then averaged over seeds, F1_pooled, AP_pooled and PQ_pooled.
    """
    plain = scores[(scores["rotation"] == 0) & ~scores["mirrored"].astype(bool)]
    tables = []
    for percent in sorted(int(name) for name in plain.columns.str.extract(r"^object(\d+)_PQ$")[0].dropna()):
        names = {f"object{percent}_{key}": key for key in ("TP", "FP", "FN", "F1", "precision", "recall", "AP", "PQ")}
        part = plain[[*_KEYS, "seed", "image_id", *names]].rename(columns=names)
        # Twice the denominator of PQ; where it is 0, there is no object, and no overlap either.
        part["total"] = 2 * part["TP"] + part["FP"] + part["FN"]
        part["overlap"] = (part["PQ"] * part["total"]).fillna(0.0)
        by_seed = part.groupby([*_KEYS, "seed"], sort=False, observed=True)
        sums = by_seed[["TP", "FP", "FN", "total", "overlap"]].sum()
        pooled = pd.DataFrame(
            {
                "F1_pooled": 2 * sums["TP"] / sums["total"],
                "AP_pooled": sums["TP"] / (sums["TP"] + sums["FP"] + sums["FN"]),
                "PQ_pooled": sums["overlap"] / sums["total"],
            }
        )
        means = by_seed[["F1", "precision", "recall", "AP", "PQ"]].mean().join(pooled)
        table = means.groupby(level=_KEYS, sort=False, observed=True).mean()
        sizes = part.groupby(_KEYS, sort=False, observed=True)
        table = table.join(sizes.agg(images=("image_id", "nunique"), seeds=("seed", "nunique")))
        tables.append(table.reset_index().assign(threshold=percent / 100))
    columns = [*_KEYS, "threshold", "images", "seeds", "F1", "F1_pooled", "precision", "recall"]
    columns += ["AP", "AP_pooled", "PQ", "PQ_pooled"]
    return in_order(pd.concat(tables, ignore_index=True), [], order)[columns]


def f1_difference(scores: pd.DataFrame, failures: pd.DataFrame | None = None) -> pd.DataFrame:
    """The f1-score difference: F1 of an image minus F1 of the same image rotated or mirrored, with its sign.

    It is computed from the counts as one fraction, (a d - c b) / (b d) for F1 = a / b and c / d, whose numerator is
    exact in 64-bit integers (up to a billion pixels in an image). So it is 0.0 exactly when the two F1 are the same
    number, and rounding can neither make nor hide a zero. (The F1 columns agree: F1 from equal counts are bit-equal.)

    Returns
    -------
    A row per dataset, modality, model, inference, seed, image_id, cell_line, group, rotation, mirrored and level
    ("pixel" or "object50"), with f1_difference (float). Every transform but the identity is compared with the image as
    it is: rotation is 90, 180 or 270, and where mirrored, 0 too. A comparison in which one F1 is undefined (truth and
    prediction both empty) is dropped. left_out (bool) marks those that say nothing, see `failures.says_nothing`.

    Raises ValueError if an image has no score as it is, or several.
    """
    return _comparisons(scores, failures).drop(columns="agreement")


def f1_difference_table(
    scores: pd.DataFrame,
    models: pd.DataFrame,
    order: Sequence[str] | None = None,
    failures: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Summary of `f1_difference`: a row per dataset, modality, model, inference and level.

    Parameters as described in the module; failures: of `failures.find_failures`.

    Returns
    -------
    Over the rotations by 90, 180 and 270 degrees of all images and seeds: images and comparisons (numbers of), and
    left_out, the number of those that say nothing, which count nowhere else (where none is left, all is NaN);
    parameters, gflops and seconds as in `f1_table`; mean, mean_absolute and max_absolute of the difference;
    exact_zeros, the share (0 to 1) of differences that are exactly 0; agreement, the mean over the same comparisons of
    the IoU of the two predictions (comparisons of two empty predictions have none and are left out of the mean);
    identical_masks, the share of comparisons whose two predictions are the same pixel for pixel: agreement exactly 1,
    or both empty; different_masks, the number of the others, and different_masks_high, see `_share_below`.

    Where the scores hold mirrored images too, mirrored_mean_absolute and mirrored_exact_zeros over those. Without a
    score there is no row.
    """
    if scores.empty:
        return pd.DataFrame(columns=_DIFFERENCE_COLUMNS)
    comparisons = _comparisons(scores, failures)
    comparisons["absolute"] = comparisons["f1_difference"].abs()
    comparisons["zero"] = comparisons["f1_difference"] == 0
    # The IoU of two masks is undefined only when both are empty: two empty masks are identical.
    comparisons["identical"] = (comparisons["agreement"] == 1) | comparisons["agreement"].isna()
    keys = [*_KEYS, "level"]
    comparisons["different"] = ~comparisons["identical"]
    rotated, mirrored = (comparisons[comparisons["mirrored"] == value] for value in (False, True))
    every, counted = (
        part.groupby(keys, sort=False, observed=True) for part in (rotated, rotated[~rotated["left_out"]])
    )
    table = every.agg(images=("image_id", "nunique"), left_out=("left_out", "sum")).join(
        counted.agg(
            comparisons=("f1_difference", "size"),
            mean=("f1_difference", "mean"),
            mean_absolute=("absolute", "mean"),
            max_absolute=("absolute", "max"),
            exact_zeros=("zero", "mean"),
            agreement=("agreement", "mean"),
            identical_masks=("identical", "mean"),
            different_masks=("different", "sum"),
        )
    )
    table = table.fillna({"comparisons": 0, "different_masks": 0}).astype({"comparisons": int, "different_masks": int})
    counts = table[["different_masks", "comparisons"]].itertuples(index=False, name=None)
    table["different_masks_high"] = [_share_below(*row) for row in counts]
    if len(mirrored):
        table = table.join(
            mirrored[~mirrored["left_out"]]
            .groupby(keys, sort=False, observed=True)
            .agg(mirrored_mean_absolute=("absolute", "mean"), mirrored_exact_zeros=("zero", "mean"))
        )
    columns = [*_DIFFERENCE_COLUMNS, *(column for column in table if column not in _DIFFERENCE_COLUMNS)]
    return in_order(_with_costs(table.reset_index(), models), ["level"], order)[columns]


def crops_as_images(crop_scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of crops (crop_scores.parquet) for `f1_difference` and `f1_difference_table`: every crop is an image."""
    names = crop_scores["image_id"].astype(str) + ", crop " + crop_scores["crop"].astype(str)
    return crop_scores.assign(image_id=names)


def difference_reduction(
    differences: pd.DataFrame, twins: Mapping[str, str], order: Sequence[str] | None = None
) -> pd.DataFrame:
    """How much smaller the mean absolute f1-score_difference of a model is than that of its plain twin as deployed.

    Parameters
    ----------
    differences: table of `f1_difference_table`.
    twins: the plain twin of every model that has one; a model may be its own, and its other inference modes are then
        compared with it.
    order: names of models in the order wanted.

    Returns
    -------
    A row per dataset, modality, model, inference and level, without the twins as deployed: twin; mean_absolute and
    twin_mean_absolute; reduction, 1 - mean_absolute / twin_mean_absolute: 1 where no difference is left, negative where
    it is larger than the twin's, NaN where the twin has none.
    """
    table = differences.assign(twin=differences["model"].map(twins))
    deployed = differences.loc[differences["inference"] == "deployed"]
    of_twin = deployed.rename(columns={"model": "twin", "mean_absolute": "twin_mean_absolute"})
    keys = ["dataset", "modality", "twin", "level"]
    table = table.dropna(subset="twin").merge(of_twin[[*keys, "twin_mean_absolute"]], on=keys)
    table = table[(table["model"] != table["twin"]) | (table["inference"] != "deployed")]
    ratio = table["mean_absolute"] / table["twin_mean_absolute"].where(table["twin_mean_absolute"] > 0)
    columns = [*_KEYS, "level", "twin", "mean_absolute", "twin_mean_absolute", "reduction"]
    return in_order(table.assign(reduction=1 - ratio), ["level"], order)[columns]


def net_name(model: str, inference: str) -> str:
    """A model and its inference mode; "deployed" goes without saying."""
    return model if inference == "deployed" else f"{model}, {inference}"


def signed(number: float, decimals: int = 4) -> str:
    """A number with its sign."""
    return f"{number:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def format_table(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Those columns of a table as text of fixed width for a terminal, ending in a newline.

    Numbers are aligned to the right, text to the left. Floats of a column share their number of decimals: 4 up to 10,
    2 up to 1000, none above. An exact 0 or 1 is shown without decimals, so that 1.0000 tells "nearly"; a number that
    would round to zero is shown as a power of ten; NaN is "-". Integers have thousands separators.
    """
    cells, right = [], []
    for column in columns:
        values = table[column]
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        if numeric and not pd.api.types.is_integer_dtype(values):
            largest = values.abs().max()
            decimals = 0 if largest >= 1000 else 2 if largest >= 10 else 4
            text = [_number(float(value), decimals) if pd.notna(value) else "-" for value in values]
        elif numeric:
            text = [f"{value:,d}" if pd.notna(value) else "-" for value in values]
        else:
            text = [str(value) if pd.notna(value) else "-" for value in values]
        cells.append([str(column), *text])
        right.append(numeric)
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in zip(*cells, strict=True)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines) + "\n"


def _number(value: float, decimals: int) -> str:
    if value in (0.0, 1.0):
        return f"{value:.0f}".lstrip("-")
    if abs(value) < 0.5 * 10.0**-decimals:
        return f"{value:.1e}"
    return f"{value:,.{decimals}f}"


def _summary(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means over seeds, numbers of images and seeds, and the Otsu floor, per `_KEYS` and `by`."""
    keys = [*_KEYS, *by]
    plain = scores[(scores["rotation"] == 0) & ~scores["mirrored"].astype(bool)]
    table = _over_seeds(f1_by_seed(plain, by), keys)
    sizes = plain.groupby(keys, sort=False, observed=True, dropna=False)
    table = table.join(sizes.agg(images=("image_id", "nunique"), seeds=("seed", "nunique")))
    # The images of each model and mode, with Otsu's scores in the place of its own: the floor on the same images.
    images = plain[[*_KEYS, "image_id"]].drop_duplicates()
    otsu = plain[plain["model"] == OTSU].drop(columns=["model", "inference"])
    floor = _over_seeds(f1_by_seed(images.merge(otsu, on=["dataset", "modality", "image_id"]), by), keys)
    return table.join(floor[_FLOORED].add_prefix(f"{OTSU}_")).reset_index()


def _with_costs(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """`table` with the costs of each model and modality; gflops times the evaluations of the inference mode."""
    costs = models.groupby(["model", "modality"], sort=False, observed=True)[list(_COSTS)].agg(_COSTS)
    table = table.merge(costs.reset_index(), on=["model", "modality"], how="left")
    table["parameters"] = table["parameters"].astype("Int64")
    table["gflops"] *= table["inference"].map(INFERENCES)
    return table


def _over_seeds(by_seed: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    grouped = by_seed.groupby(keys, sort=False, observed=True, dropna=False)
    table = grouped[[column for column in by_seed.columns if column not in (*keys, "seed")]].mean()
    table["pixel_F1_sd"] = grouped["pixel_F1"].std()
    return table


def _share_below(found: int, tried: int) -> float:
    """What a share lies below, at 95 %, if `found` of `tried` have what is counted (Clopper and Pearson, Biometrika 26,
    1934, 404-413); NaN of none. It takes them for independent, which rotations of one image are not quite."""
    if tried == 0:
        return np.nan
    return float(binomtest(found, tried, alternative="less").proportion_ci(0.95, method="exact").high)


def _comparisons(scores: pd.DataFrame, failures: pd.DataFrame | None = None) -> pd.DataFrame:
    """`f1_difference` with a further column, the agreement of the two predictions."""
    image = [*_KEYS, "seed", "image_id"]
    shown = [*image, "cell_line", "group", "rotation", "mirrored"]
    identity = (scores["rotation"] == 0) & ~scores["mirrored"].astype(bool)
    try:
        pairs = scores.loc[~identity, [*shown, "agreement", *_COUNTS]].merge(
            scores.loc[identity, [*image, *_COUNTS]],
            on=image,
            how="left",
            suffixes=("", "_reference"),
            validate="many_to_one",
            indicator=True,
        )
    except pd.errors.MergeError as error:
        raise ValueError("an image has several scores of one model, mode and seed without rotation") from error
    alone = pairs[pairs["_merge"] == "left_only"]
    if len(alone):
        first = alone.iloc[0]
        raise ValueError(
            f"image {first['image_id']} has a score of {first['model']} ({first['inference']}, seed {first['seed']}) "
            f"rotated by {first['rotation']} degrees, and none without rotation"
        )
    parts = []
    for level in LEVELS:
        differences = differences_of(pairs, level)
        defined = differences.notna()
        part = pairs.loc[defined, shown].assign(level=level, f1_difference=differences[defined])
        part["agreement"] = pairs.loc[defined, "agreement"]
        part["left_out"] = says_nothing(pairs, level, failures)[defined]
        parts.append(part)
    return pd.concat(parts, ignore_index=True).astype({"mirrored": bool, "left_out": bool})


def in_order(table: pd.DataFrame, by: list[str], order: Sequence[str] | None) -> pd.DataFrame:
    """Sort by dataset, modality, the columns `by`, model (in `order`, Otsu last) and inference mode, stably."""
    names = [name for name in dict.fromkeys([*(order or ()), *table["model"]]) if name != OTSU]
    wanted = {"level": LEVELS, "model": [*names, OTSU], "inference": list(INFERENCES)}

    def position(column: pd.Series) -> pd.Series:
        return column.map(wanted[column.name].index) if column.name in wanted else column

    columns = ["dataset", "modality", *by, "model", "inference"]
    return table.sort_values(columns, key=position, kind="stable", ignore_index=True)
