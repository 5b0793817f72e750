"""Quality of a plate: its layout, scores of wells, warnings, and summaries of conditions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from equinuclei.errors import InputError, raise_problems
from equinuclei.wells import STANDARD_SHAPES, parse_well, well_name

CONTROLS = ("positive", "negative")
MAP_COLUMNS = ["well", "treatment", "concentration", "control"]

FEWEST_FOR_OUTLIERS = 8  # wells
OUTLIER = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz & Hoaglin 1993)."""


def plate_shape(wells: Sequence[str], declared: tuple[int, int] | None = None) -> tuple[int, int]:
    """Rows and columns of a plate: as declared, or of the smallest of `STANDARD_SHAPES` that has all wells."""
    positions = [parse_well(well) for well in wells]
    shapes = STANDARD_SHAPES if declared is None else (declared, *STANDARD_SHAPES)
    return next(
        (rows, columns)
        for rows, columns in shapes
        if all(row <= rows and column <= columns for row, column in positions)
    )


def focus_score(image: np.ndarray) -> float:
    """Sharpness of an image (y, x), stored dtype: variance of its Laplacian by the squared mean, 0 for a black image.

    Pech-Pacheco et al. 2000; divided by the squared mean, it does not change when the exposure does. It compares
    images of one plate, channel and magnification.
    """
    image = np.asarray(image, np.float64)
    mean = image.mean()
    return float(ndimage.laplace(image, mode="nearest").var() / mean**2) if mean > 0 else 0.0


def saturated_share(image: np.ndarray) -> float:
    """Share of pixels of an integer image (y, x) at the largest value of its dtype or of a 12- or 14-bit camera.

    Of a float image, whose largest value is not known, it is 0.
    """
    if image.dtype.kind != "u" or not image.size:
        return 0.0
    largest = int(image.max())
    limits = {np.iinfo(image.dtype).max, 2**12 - 1, 2**14 - 1} if image.dtype != np.uint8 else {255}
    return float((image == largest).mean()) if largest in limits else 0.0


def plate_warnings(wells: pd.DataFrame) -> pd.DataFrame:
    """What a person should look at: failed, empty, blurred and saturated wells, and an effect of the edge.

    Parameters
    ----------
    wells
        Columns well, count (nuclei), failed_fields (share, 0 to 1), focus, saturated (share); a row per well.

    Returns
    -------
    pandas.DataFrame
        Columns well ("" for the whole plate), kind (failed, empty, out of focus, saturated, edge effect) and text.
    """
    found: list[tuple[str, str, str]] = []
    for row in wells.itertuples():
        if row.failed_fields > 0:
            found.append((row.well, "failed", f"{row.failed_fields:.0%} of its fields could not be read"))
        if row.count == 0 and row.failed_fields < 1:
            found.append((row.well, "empty", "no nucleus found"))
        if row.saturated > 0.01:
            found.append((row.well, "saturated", f"{row.saturated:.1%} of the pixels are saturated"))
    seen = wells.loc[wells["count"] > 0]
    # Among few wells one is soon an outlier, and among very even ones so is a well that is hardly less sharp.
    if len(seen) >= FEWEST_FOR_OUTLIERS:
        scores = modified_z(np.log10(seen["focus"].clip(lower=1e-12)))
        blurred = seen.loc[(scores < -OUTLIER) & (seen["focus"] < seen["focus"].median() / 2), "well"]
        found += [(well, "out of focus", "less than half as sharp as the other wells") for well in blurred]
    edge = edge_effect(wells)
    if edge is not None and not 0.8 <= edge <= 1.25:
        found.append(("", "edge effect", f"wells at the edge hold {edge:.2f} times as many nuclei as those inside"))
    return pd.DataFrame(found, columns=["well", "kind", "text"])


def edge_effect(wells: pd.DataFrame) -> float | None:
    """Median number of nuclei in wells at the edge of the plate by that of those inside; columns well and count.

    None where fewer than six wells lie at the edge or inside, or those inside are empty.
    """
    if wells.empty:
        return None
    rows, columns = plate_shape(list(wells["well"]))
    at_edge = np.array([row in (1, rows) or column in (1, columns) for row, column in map(parse_well, wells["well"])])
    outer, inner = wells.loc[at_edge, "count"], wells.loc[~at_edge, "count"]
    if min(len(outer), len(inner)) < 6 or inner.median() == 0:
        return None
    return float(outer.median() / inner.median())


def read_plate_map(path: str | Path) -> pd.DataFrame:
    """Read a plate map: a TSV with well and treatment, and optionally concentration (a number) and control.

    control is positive, negative or empty. Returns `MAP_COLUMNS`, wells as "B02". Raises InputError with up to five
    problems.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a readable table ({error}); save the plate map as TSV in UTF-8") from error
    missing = [column for column in ("well", "treatment") if column not in table]
    if missing:
        raise InputError(f"{path}: column {', '.join(missing)} is missing; a plate map has {', '.join(MAP_COLUMNS)}")
    table = table.reindex(columns=MAP_COLUMNS, fill_value="")
    problems, names = [], []
    for well in table["well"]:
        try:
            names.append(well_name(*parse_well(well)))
        except ValueError as error:
            problems.append(str(error))
            names.append("")
    table["well"] = names
    problems += [
        f"well {well} is listed twice" for well in table.loc[table["well"].duplicated() & (table["well"] != ""), "well"]
    ]
    problems += [
        f"control {value!r} is neither positive nor negative"
        for value in sorted(set(table["control"]) - {*CONTROLS, ""})
    ]
    number = pd.to_numeric(table["concentration"], errors="coerce")
    wrong = table.loc[number.isna() & (table["concentration"] != ""), "concentration"]
    problems += [f"concentration {value!r} is not a number" for value in wrong]
    raise_problems(str(path), problems)
    return table.assign(concentration=number)


def summarize_conditions(wells: pd.DataFrame, plate_map: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over the wells of every condition.

    Rows are sorted by treatment, then by concentration (dose order). Columns: treatment, concentration, control, wells,
    and for each of `columns` <column>_mean and <column>_sd (NaN for one well).
    """
    joined = wells.merge(plate_map, on="well", validate="one_to_one")
    grouped = joined.groupby(["treatment", "concentration", "control"], dropna=False, sort=True)
    named = {"wells": ("well", "size")}
    named |= {f"{column}_mean": (column, "mean") for column in columns}
    named |= {f"{column}_sd": (column, "std") for column in columns}
    return grouped.agg(**named).reset_index()


def z_prime(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Z' = 1 - 3 (s_p + s_n) / |m_p - m_n|, with means m and standard deviations s of the controls (Zhang et al. 1999).

    NaN where a control has fewer than two wells, or both have the same mean.
    """
    high, low = (np.asarray([v for v in values if np.isfinite(v)], float) for values in (positive, negative))
    if min(len(high), len(low)) < 2 or high.mean() == low.mean():
        return float("nan")
    return float(1 - 3 * (high.std(ddof=1) + low.std(ddof=1)) / abs(high.mean() - low.mean()))


def modified_z(values: pd.Series) -> np.ndarray:
    """0.6745 (x - median) / MAD (Iglewicz & Hoaglin 1993); 0 where the values hardly differ."""
    values = np.asarray(values, float)
    if not len(values):
        return values
    centred = values - np.median(values)
    spread = np.median(np.abs(centred))
    return 0.6745 * centred / spread if spread > 1e-9 else np.zeros_like(centred)
