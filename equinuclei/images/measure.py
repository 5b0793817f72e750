"""Measuring nuclei one by one, and summarising them per field and well."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.measure import regionprops_table

FIELD_COLUMNS = ("field", "y", "x", "height", "width")
"""Columns of a table of fields: number, and the rectangle within the image, in pixels."""

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
    images : one image (y, x) of the same shape per channel, stored dtype; or one array (channel, y, x).
    channels : their names, which become part of column names.
    pixel_size : micrometres per pixel along both axes; None if unknown.
    fields : the rectangles that the image is composed of, columns FIELD_COLUMNS (integers). None: all is field 0.
    probability : probability of nucleus, 0 to 1, (y, x); None if unavailable.

    Returns
    -------
    label : int64
    field : int64, the field whose rectangle contains the centroid; the lowest number where fields overlap, so that
        every nucleus counts once. A centroid in a gap belongs to the nearest field.
    y, x : centroid in pixels, (0, 0) being the centre of the first pixel; y_um, x_um : in micrometres
    area : pixels; area_um2 : square micrometres
    perimeter : pixels, by Crofton's formula in four directions (skimage.measure.perimeter_crofton), correct within 2 %
        for discs from a radius of 12 pixels on; perimeter_um : micrometres
    eccentricity : of the ellipse with the same second moments, 0 (circle) to 1
    solidity : area divided by the area of the convex hull
    orientation : of the long axis of that ellipse, degrees from the x axis, counter-clockwise on a screen, [0, 180)
    touches_border : bool, whether it touches the border of the imaged area, so that it may be cut off
    probability : mean over its pixels; NaN if none was given
    mean_<channel>, integrated_<channel> : mean and sum of the stored pixel values, background not subtracted

    Columns in micrometres are NaN where the pixel size is unknown.

    Raises ValueError for different shapes, missing or repeated channel names, a pixel size that is not positive, or a
    table of fields without rows.
    """
    labels = np.asarray(labels)
    images = [np.asarray(image) for image in images]
    _check(labels, images, channels, pixel_size, fields, probability)
    # skimage does not support uint32 everywhere.
    labels = labels.astype(np.int32) if labels.dtype == np.uint32 and labels.max(initial=0) < 2**31 else labels
    table = _shapes(labels, fields, np.nan if pixel_size is None else float(pixel_size))
    # One pass for all nuclei: the row of the table that each foreground pixel belongs to.
    foreground = np.flatnonzero(labels)
    row = np.searchsorted(table["label"], labels.ravel()[foreground])

    def total(image: np.ndarray) -> np.ndarray:
        return np.bincount(row, weights=image.ravel()[foreground], minlength=table["label"].size)

    area = table["area"]
    table["probability"] = np.full(area.size, np.nan) if probability is None else total(np.asarray(probability)) / area
    for name, image in zip(channels, images, strict=True):
        sums = total(image)
        table[f"mean_{name}"], table[f"integrated_{name}"] = sums / area, sums
    return pd.DataFrame(table)


def _shapes(labels: np.ndarray, fields: pd.DataFrame | None, scale: float) -> dict[str, np.ndarray]:
    """The columns of `measure_nuclei` on place and shape. scale : micrometres per pixel, NaN if unknown."""
    shape = pd.DataFrame(regionprops_table(labels, properties=_SHAPE))
    numbers = shape["label"].to_numpy(np.int64)
    area = np.bincount(np.searchsorted(numbers, labels[labels != 0]), minlength=numbers.size)
    y, x = shape["centroid-0"].to_numpy(float), shape["centroid-1"].to_numpy(float)
    perimeter = shape["perimeter_crofton"].to_numpy(float)
    return {
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
        # skimage measures from the y axis, (-pi / 2, pi / 2].
        "orientation": np.mod(np.degrees(shape["orientation"].to_numpy(float)) + 90, 180),
        "touches_border": np.isin(numbers, np.unique(labels[_border(labels.shape, fields)])),
    }


def summarize(nuclei: pd.DataFrame, by: Sequence[str], every: pd.DataFrame | None = None) -> pd.DataFrame:
    """Count, median area and mean intensities of nuclei per group, such as a field or a well.

    nuclei : from `measure_nuclei`, with the columns `by` added if they are not among its own.
    by : the columns that define a group.
    every : a table with the columns `by` that lists all groups. With it, a group without nuclei has a row too, with
        counts of 0 and NaN in all other columns.

    Returns a row per group, sorted: `by`, count (int64), at_border (nuclei that touch the border, int64), median_area
    (pixels), median_area_um2, and per channel mean_<channel>, the mean over nuclei of their mean intensity.

    Raises ValueError if `by` is empty, KeyError if a column does not exist.
    """
    by = list(by)
    if not by:
        raise ValueError("by must name at least one column")
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
    """The number of the field that contains each centroid, or is nearest to it."""
    if fields is None:
        return np.zeros(y.size, np.int64)
    best, number = np.full(y.size, np.inf), np.zeros(y.size, np.int64)
    for row in fields.sort_values("field").itertuples(index=False):
        # Fields extend half a pixel beyond the centres of their outermost pixels; the far edge is the next field's.
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
    """Pixels that were not imaged, or share an edge with one that was not: bool of a shape (y, x)."""
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
            raise ValueError(f"a table of fields needs rows and the columns {', '.join(FIELD_COLUMNS)}")
