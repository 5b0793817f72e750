"""One page per plate that works offline: heatmaps in plate layout, images of wells, warnings, conditions."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from equinuclei.pages.page import data_url, records, render, text, to_json
from equinuclei.plates.quality import plate_shape, plate_warnings, summarize_conditions, z_prime
from equinuclei.wells import row_letters, well_name

METRICS = {
    "count": ("nuclei", ""),
    "median_area": ("median area", ""),
    "mean_intensity": ("mean intensity", ""),
    "focus": ("focus score", ""),
    "failed_fields": ("failed fields", "%"),
}
"""Columns of wells that can be shown as a heatmap: label, and "%" for a share."""

FIELD_COLUMNS = {
    "count": ("nuclei", ""),
    "median_area": ("median area", ""),
    "mean_intensity": ("mean intensity", ""),
    "focus": ("focus", ""),
    "status": ("status", ""),
}

THUMBNAIL = 384
"""Longer edge of a well's image in pixels."""


@dataclass(frozen=True)
class PlatePage:
    """What the page of a plate shows.

    plate, model : names, shown as they are; nothing from a name becomes markup
    wells : a row per well: well, count, median_area (in `area_unit`), mean_intensity, focus, failed_fields (share),
        saturated (share)
    fields : a row per field: well, field, count, median_area, mean_intensity, focus, status (ok, missing, ...)
    images : JPEG of a well, as `well_thumbnail` makes it
    acquired : when the plate was imaged, as the page shows it
    plate_map : see `equinuclei.plates.quality.read_plate_map`; with it, the page shows summaries per condition and Z'
    truth : scores against a known truth by their name, such as {"object F1": 0.93}
    footer : the last line
    warnings : of `equinuclei.plates.quality.plate_warnings`; None: by the wells alone
    shape : rows and columns of the plate; None: the smallest plate that has all wells
    """

    plate: str
    model: str
    wells: pd.DataFrame
    fields: pd.DataFrame
    images: Mapping[str, bytes]
    area_unit: str = "px²"
    acquired: str = ""
    plate_map: pd.DataFrame | None = None
    truth: Mapping[str, float] = field(default_factory=dict)
    footer: str = ""
    warnings: pd.DataFrame | None = None
    shape: tuple[int, int] | None = None


def write_page(page: PlatePage, output: str | Path) -> None:
    """Write the page of a plate: an HTML file that holds all it needs; its policy forbids it to load anything."""
    conditions, z_primes = _conditions(page.wells, page.plate_map)
    render(
        "plate.html", output, plate=page.plate, model=page.model, acquired=page.acquired, facts=_facts(page),
        conditions=conditions, z_primes=z_primes, footer=page.footer, data=to_json(_data(page)),
    )  # fmt: skip


def _facts(page: PlatePage) -> list[tuple[str, str]]:
    """Numbers at the head of the page: what they count, and their text."""
    failed = int((page.fields["status"] != "ok").sum())
    return [
        ("nuclei", f"{int(page.wells['count'].sum()):,}"),
        ("wells", str(len(page.wells))),
        ("fields", f"{len(page.fields):,}"),
        ("failed fields", f"{failed:,}"),
        *((f"{name} against the truth", f"{value:.3f}") for name, value in page.truth.items()),
    ]


def _data(page: PlatePage) -> dict[str, object]:
    """What the page's script shows."""
    rows, columns = page.shape or plate_shape(list(page.wells["well"]))
    shown = page.wells.assign(image=[data_url(page.images.get(well), "jpeg") for well in page.wells["well"]])
    if page.plate_map is not None:
        shown = shown.merge(page.plate_map[["well", "treatment"]], on="well", how="left")
    area = f"{METRICS['median_area'][0]}, {page.area_unit}"
    return {
        "columns": columns,
        "layout": [
            {"letter": row_letters(row), "wells": [well_name(row, column) for column in range(1, columns + 1)]}
            for row in range(1, rows + 1)
        ],
        "metrics": [
            {"key": key, "label": area if key == "median_area" else label, "digits": digits}
            for key, (label, digits) in METRICS.items()
        ],
        "field_columns": [
            {"key": key, "label": label, "digits": digits} for key, (label, digits) in FIELD_COLUMNS.items()
        ],
        "wells": records(shown),
        "fields": records(page.fields[["well", "field", *FIELD_COLUMNS]]),
        "warnings": records(plate_warnings(page.wells) if page.warnings is None else page.warnings),
    }


def well_thumbnail(image: np.ndarray, labels: np.ndarray) -> bytes:
    """A small JPEG of a well: the image (y, x) from its 0.5th to its 99.8th percentile, labels outlined in yellow.

    Labels are (y, x) integers of the same shape.
    """
    step = max(1, math.ceil(max(image.shape) / THUMBNAIL))
    shape = tuple(max(1, math.ceil(size / step)) for size in image.shape)
    small = resize(image.astype(np.float32), shape, order=1, anti_aliasing=step > 1, preserve_range=True)
    low, high = np.percentile(small, [0.5, 99.8])
    grey = (255 * np.clip((small - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
    # Outlines of the labels as they are seen at this size: nearest pixels, as numbers cannot be averaged.
    outline = find_boundaries(labels[::step, ::step][: shape[0], : shape[1]], mode="inner")
    coloured = np.stack([grey] * 3, axis=-1)
    coloured[: outline.shape[0], : outline.shape[1]][outline] = (255, 214, 10)
    buffer = io.BytesIO()
    iio.imwrite(buffer, coloured, extension=".jpg", quality=85)
    return buffer.getvalue()


def _conditions(wells: pd.DataFrame, plate_map: pd.DataFrame | None) -> tuple[dict | None, list[tuple[str, str]]]:
    if plate_map is None:
        return None, []
    measured = ["count", "median_area", "mean_intensity"]
    table = summarize_conditions(wells, plate_map, measured)
    names = {name: name for name in ("treatment", "concentration", "control", "wells")}
    names |= {f"{key}_{end}": f"{METRICS[key][0]}, {end}" for key in measured for end in ("mean", "sd")}
    rows = [[text(value) for value in row] for row in table[list(names)].itertuples(index=False, name=None)]
    joined = wells.merge(plate_map, on="well")
    controls = {kind: joined[joined["control"] == kind] for kind in ("positive", "negative")}
    z_primes = [(METRICS[key][0], z_prime(controls["positive"][key], controls["negative"][key])) for key in measured]
    return (
        {"columns": list(names.values()), "rows": rows},
        [(name, f"{value:.2f}") for name, value in z_primes if np.isfinite(value)],
    )
