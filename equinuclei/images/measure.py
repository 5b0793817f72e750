"""Nuclei measured one by one, and summed up per field and well."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.measure import regionprops_table

FIELD_COLUMNS = ("field", "y", "x", "height", "width")
"""Columns of a table of fields: number, and rectangle in the frame of the image, in pixels."""

_SHAPE = ("label", "centroid", "perimeter_crofton", "eccentricity", "solidity", "orientation")


def measure_nuclei(
    labels: np.ndarray,
    images: Sequence[np.ndarray] | np.ndarray = (),
    *,
    channels: Sequence[str] = (),
    pixel_size: float | None = None,
    fields: pd.DataFrame | None = None,
    probability: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row per nucleus, in the order of the labels.

    Parameters
    ----------
    labels : integers (y, x), 0 is background; numbers may have gaps.
    images : an image (y, x) of the same shape per channel, stored dtype; or one array (channel, y, x).
    channels : their names, which become parts of column names.
    pixel_size : micrometres per pixel along either axis; None where it is unknown.
    fields : the rectangles that the image is made of, columns FIELD_COLUMNS (integers). None: all is field 0.
    probability : of a nucleus, 0 to 1, (y, x); None where it is not at hand.

    Returns
    -------
    label : int64
    field : int64, the field whose rectangle holds the centroid; the lowest number where fields overlap, so that every
        nucleus counts once. A centroid in a gap belongs to the nearest field.
    y, x : the centroid in pixels, (0, 0) being the middle of the first pixel; y_um, x_um : in micrometres
    area : pixels; area_um2 : square micrometres
    perimeter : pixels, by Crofton's formula in four directions (skimage.measure.perimeter_crofton), within 2 % of
        a disc's from a radius of 12; perimeter_um : micrometres
    eccentricity : of the ellipse with the same second moments, 0 (circle) to 1
    solidity : area over the area of the convex hull
    orientation : of the long axis of that ellipse, degrees from the x axis, counter-clockwise as on a screen, [0, 180)
    touches_border : bool, whether a pixel lies at the border of what was imaged: its area, shape and sum may be cut
    probability : mean over its pixels; NaN where none was given
    mean_<channel>, integrated_<channel> : mean and sum of the stored pixel values, background not subtracted

    Columns in micrometres are NaN where the pixel size is unknown.

    Raises ValueError for shapes that differ, channels without names, repeated names, a pixel size that is not positive,
    or a table of fields without a row.
    """
    labels = np.asarray(labels)
    images = [np.asarray(image) for image in images]
    _check(labels, images, channels, pixel_size, fields, probability)
    scale = np.nan if pixel_size is None else float(pixel_size)
    # skimage takes no unsigned 32-bit numbers everywhere, and its own tables are empty without a region.
    labels = labels.astype(np.int32) if labels.dtype == np.uint32 and labels.max(initial=0) < 2**31 else labels
    shape = pd.DataFrame(regionprops_table(labels, properties=_SHAPE))
    numbers = shape["label"].to_numpy(np.int64)
    # One pass for all nuclei: pixels by the place of their nucleus in the table.
    flat = np.flatnonzero(labels)
    place = np.searchsorted(numbers, labels.ravel()[flat])
    area = np.bincount(place, minlength=numbers.size)
    y, x = shape["centroid-0"].to_numpy(float), shape["centroid-1"].to_numpy(float)
    perimeter = shape["perimeter_crofton"].to_numpy(float)
    table = {
        "label": numbers,
        "field": _field_of(y, x, fields),
        "y": y,
        "x": x,
        "y_um": y * scale,
        "x_um": x * scale,
        "area": area,
        "area_um2": area * scale**2,
        "perimeter": perimeter,
        "perimeter_um": perimeter * scale,
        "eccentricity": shape["eccentricity"].to_numpy(float),
        "solidity": shape["solidity"].to_numpy(float),
        # skimage: from the y axis, (-pi / 2, pi / 2].
        "orientation": np.mod(np.degrees(shape["orientation"].to_numpy(float)) + 90, 180),
        "touches_border": np.isin(numbers, np.unique(labels[_border(labels.shape, fields)])),
    }

    def total(image: np.ndarray) -> np.ndarray:
        return np.bincount(place, weights=image.ravel()[flat], minlength=numbers.size)

    table["probability"] = (
        np.full(numbers.size, np.nan) if probability is None else total(np.asarray(probability)) / area
    )
    for name, image in zip(channels, images, strict=True):
        sums = total(image)
        table[f"mean_{name}"], table[f"integrated_{name}"] = sums / area, sums
    return pd.DataFrame(table)


def summarize(nuclei: pd.DataFrame, by: Sequence[str], every: pd.DataFrame | None = None) -> pd.DataFrame:
    """Count, median area and mean intensities of nuclei per group, such as a field or a well.

    nuclei : from `measure_nuclei`, with the columns `by` added where they are not among its own.
    by : the columns that make a group.
    every : a table with the columns `by`, a row per group that there should be. A group without nuclei then has a row
        too, with count 0 and all else NaN; without it such groups are absent.

    Returns a row per group, sorted: `by`, count (int64), at_border (nuclei that touch the border, int64), median_area
    (pixels), median_area_um2, and per channel mean_<channel>, the mean over nuclei of their mean intensity.

    Raises ValueError without a column to group by, KeyError for a column that is not there.
    """
    by = list(by)
    if not by:
        raise ValueError("by names at least one column")
    means = [column for column in nuclei.columns if column.startswith("mean_")]
    groups = nuclei.groupby(by, sort=True, dropna=False)
    columns = {
        "count": groups["label"].size(),
        "at_border": groups["touches_border"].sum(),
        "median_area": groups["area"].median(),
        "median_area_um2": groups["area_um2"].median(),
        **{column: groups[column].mean() for column in means},
    }
    table = pd.DataFrame(columns).reset_index() if len(nuclei) else pd.DataFrame(columns=[*by, *columns])
    if every is not None:
        wanted = every[by].drop_duplicates().sort_values(by, ignore_index=True)
        table = wanted.merge(table.astype(wanted.dtypes.to_dict()), on=by, how="left")
    counts = {column: pd.to_numeric(table[column]).fillna(0).astype(np.int64) for column in ("count", "at_border")}
    rest = {column: table[column].astype(float) for column in columns if column not in counts}
    return table[by].assign(**counts, **rest)


def _field_of(y: np.ndarray, x: np.ndarray, fields: pd.DataFrame | None) -> np.ndarray:
    """The number of the field that holds a centroid, or is nearest."""
    if fields is None:
        return np.zeros(y.size, np.int64)
    best, number = np.full(y.size, np.inf), np.zeros(y.size, np.int64)
    for row in fields.sort_values("field").itertuples(index=False):
        # A pixel extends half a pixel to each side; the far edge belongs to the next field.
        outside = [
            np.maximum(np.maximum(start - 0.5 - at, at - (start + length - 0.5)), 0)
            + (at == start + length - 0.5) * 1e-9
            for at, start, length in ((y, row.y, row.height), (x, row.x, row.width))
        ]
        distance = np.hypot(*outside)
        nearer = distance < best
        best, number = np.where(nearer, distance, best), np.where(nearer, row.field, number)
    return number


def _border(shape: tuple[int, int], fields: pd.DataFrame | None) -> np.ndarray:
    """Pixels (bool) with an edge towards where nothing was imaged, or in such a place themselves."""
    imaged = np.ones(shape, bool)
    if fields is not None:
        imaged[:] = False
        for row in fields.itertuples(index=False):
            imaged[max(row.y, 0) : max(row.y + row.height, 0), max(row.x, 0) : max(row.x + row.width, 0)] = True
    return ~ndimage.binary_erosion(imaged)


def _check(
    labels: np.ndarray,
    images: Sequence[np.ndarray],
    channels: Sequence[str],
    pixel_size: float | None,
    fields: pd.DataFrame | None,
    probability: Any,
) -> None:
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are integers (y, x), not {labels.dtype} with shape {labels.shape}")
    for what, array in [*(("an image", image) for image in images), ("the probability", probability)]:
        if array is not None and np.shape(array) != labels.shape:
            raise ValueError(f"{what} has shape {np.shape(array)}, the labels {labels.shape}")
    if isinstance(channels, str) or len(channels) != len(images) or len(set(channels)) != len(channels):
        raise ValueError(f"expected {len(images)} different channel names, not {channels!r}")
    if pixel_size is not None and not pixel_size > 0:
        raise ValueError(f"the pixel size is a positive number of micrometres, not {pixel_size}")
    if fields is not None:
        missing = [column for column in FIELD_COLUMNS if column not in fields.columns]
        if missing or fields.empty:
            raise ValueError(f"a table of fields has rows, and the columns {', '.join(FIELD_COLUMNS)}")
