"""How the nuclei of every well are distributed, beside those of the whole plate: counts in bins, for the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

BINS = 32
SHAPES = ("area", "eccentricity", "solidity", "probability")


def nuclear_histograms(nuclei: str | Path) -> list[dict[str, object]]:
    """Counts of nuclei per well in bins of their area, shape, probability and mean intensity in every channel.

    Parameters
    ----------
    nuclei
        Parquet file of `equinuclei.plates.measure.measure_plate`.

    Returns
    -------
    list of dict
        Per measure: key (the column), unit, low and high (the outer edges of BINS equal bins: the 0.5 and 99.5 %
        quantiles of the plate; what lies beyond them is in the outermost bins), wells (BINS counts by the name of a
        well; where the table has a column time, a list of such counts by time). A measure that no nucleus has is left
        out. Areas are in square micrometres where the pixel size is known.
    """
    columns = pq.read_schema(nuclei).names
    keys = ["well", *(["time"] if "time" in columns else [])]
    groups = pd.read_parquet(nuclei, columns=keys)
    intensities = [column for column in columns if column.startswith("mean_")]
    found = []
    for key in (*SHAPES, *intensities):
        column, unit = _column(nuclei, key, columns)
        if column is not None and column.notna().any():
            found.append({"key": key, "unit": unit, **_histogram(groups, column.astype(float))})
    return found


def _column(nuclei: str | Path, key: str, columns: list[str]) -> tuple[pd.Series | None, str]:
    """The values of a measure, and their unit."""
    if key == "area" and "area_um2" in columns:
        column = pd.read_parquet(nuclei, columns=["area_um2"])["area_um2"]
        if column.notna().any():
            return column, "µm²"
    if key not in columns:
        return None, ""
    return pd.read_parquet(nuclei, columns=[key])[key], "px²" if key == "area" else ""


def _histogram(groups: pd.DataFrame, values: pd.Series) -> dict[str, object]:
    known = values.notna().to_numpy()
    groups, values = groups[known], values[known]
    low, high = (float(f"{value:.4g}") for value in np.quantile(values, [0.005, 0.995]))
    high = high if high > low else low + max(1e-6, abs(low) * 1e-3)
    bins = np.clip(((values.to_numpy() - low) / (high - low) * BINS).astype(int), 0, BINS - 1)
    counts: dict[str, object] = {}
    for well, rows in groups.reset_index(drop=True).groupby("well").groups.items():
        if "time" not in groups:
            counts[str(well)] = np.bincount(bins[rows], minlength=BINS).tolist()
            continue
        times = groups["time"].to_numpy()[rows]
        counts[str(well)] = [
            np.bincount(bins[rows][times == time], minlength=BINS).tolist() for time in range(int(times.max()) + 1)
        ]
    return {"low": low, "high": high, "wells": counts}
