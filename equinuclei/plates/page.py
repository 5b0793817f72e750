"""One page per plate that works offline: heatmaps in plate layout, images, distributions, doses, warnings."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from equinuclei.pages.page import data_url, records, render, text, to_json
from equinuclei.plates.histograms import BINS
from equinuclei.plates.quality import plate_shape, plate_warnings, summarize_conditions, z_prime
from equinuclei.tables.columns import NUMBER, column_of
from equinuclei.wells import row_letters, well_name

METRICS = {
    "count": ("nuclei", ""),
    "median_area": ("median area", ""),
    "mean_intensity": ("mean intensity", ""),
    "focus": ("focus score", ""),
    "failed_fields": ("failed fields", "%"),
}
"""The first columns of wells in the menu of the heatmap, before all others: label, and "%" for a share."""

LABELS = {
    "median_area_um2": "median area, µm²",
    "at_border": "nuclei at the border",
    "saturated": "saturated pixels",
    "fields": "fields",
    "area": "area",
}
"""Of further columns of wells and nuclei; others are called as the column is."""

FIELD_COLUMNS = {
    "count": ("nuclei", ""),
    "median_area": ("median area", ""),
    "mean_intensity": ("mean intensity", ""),
    "focus": ("focus", ""),
    "status": ("status", ""),
    "flags": ("flags", ""),
}

THUMBNAIL = 384
"""Longer edge of a well's image within the page in pixels, where a plate has no more than 96 wells."""


@dataclass(frozen=True)
class PlatePage:
    """What the page of a plate shows.

    plate, model : names, shown as they are; nothing from a name becomes markup
    wells : a row per well: well, count, median_area (in `area_unit`), mean_intensity, focus, failed_fields (share),
        saturated (share)
    fields : a row per field: well, field, count, median_area, mean_intensity, focus, status (ok, missing, ...), and
        where they are known flags (`equinuclei.plates.quality.field_flags`)
    images : JPEG of a well, as `well_thumbnail` makes it
    files : what lies in a folder beside the page (`equinuclei.plates.page_files.write_page_files`); None: nothing
    histograms : see `equinuclei.plates.histograms.nuclear_histograms`
    shape : rows and columns of the plate; None: the smallest plate that has all wells
    left_out : what failed, or is not on this page; a line each, at its top
    acquired : when the plate was imaged, as the page shows it
    plate_map : see `equinuclei.plates.quality.read_plate_map`; with it, the page shows summaries per condition and Z'
    truth : scores against a known truth by their name, such as {"object F1": 0.93}
    footer : the last line
    warnings : of `equinuclei.plates.quality.plate_warnings`; None: by the wells alone
    verdict : of `equinuclei.plates.quality.verdict`

    The tables of wells and fields may have a column time, whole numbers from 0: then they have a row per well, or
    field, and time.
    """

    plate: str
    model: str
    wells: pd.DataFrame
    fields: pd.DataFrame
    images: Mapping[str, bytes]
    files: Mapping[str, Any] | None = None
    histograms: Sequence[Mapping[str, Any]] = ()
    shape: tuple[int, int] | None = None
    left_out: Sequence[str] = ()
    area_unit: str = "px²"
    acquired: str = ""
    plate_map: pd.DataFrame | None = None
    truth: Mapping[str, float] = field(default_factory=dict)
    footer: str = ""
    warnings: pd.DataFrame | None = None
    verdict: str = ""


def write_page(page: PlatePage, output: str | Path) -> None:
    """Write the page of a plate: an HTML file; its policy lets it load nothing but the images beside it."""
    conditions, z_primes = _conditions(page.wells, page.plate_map)
    files = page.files or {}
    render(
        "plate.html", output, plate=page.plate, model=page.model, acquired=page.acquired, facts=_facts(page),
        verdict=page.verdict,
        left_out=list(page.left_out), conditions=conditions, z_primes=z_primes, footer=page.footer,
        folder=files.get("folder", ""), about_images=_about_images(files.get("images")),
        downloads=[file | {"size": _size(file["bytes"])} for file in files.get("downloads", ())],
        data=to_json(_data(page)),
    )  # fmt: skip


def _facts(page: PlatePage) -> list[tuple[str, str]]:
    """Numbers at the head of the page: what they count, and their text."""
    failed = int((page.fields["status"] != "ok").sum())
    times = _times(page.wells)
    return [
        ("nuclei, at all times" if len(times) > 1 else "nuclei", f"{int(page.wells['count'].sum()):,}"),
        ("wells", str(page.wells["well"].nunique())),
        *([("time points", str(len(times)))] if len(times) > 1 else []),
        ("fields", f"{len(page.fields):,}"),
        ("failed fields", f"{failed:,}"),
        *((f"{name} against the truth", f"{value:.3f}") for name, value in page.truth.items()),
    ]


def _data(page: PlatePage) -> dict[str, object]:
    """What the page's script shows."""
    names = list(page.wells["well"])
    rows, columns = page.shape or plate_shape(names)
    shown, files = page.wells, page.files or {}
    if page.plate_map is not None:
        shown = shown.merge(page.plate_map, on="well", how="left")
    has_time = ["time"] if "time" in page.fields else []
    field_columns = {name: told for name, told in FIELD_COLUMNS.items() if name in page.fields}
    fields = page.fields[["well", "field", *has_time, *field_columns]]
    return {
        "columns": columns,
        "layout": [
            {"letter": row_letters(row), "wells": [well_name(row, column) for column in range(1, columns + 1)]}
            for row in range(1, rows + 1)
        ],
        "metrics": metrics(page.wells, page.area_unit),
        "field_columns": [
            {"key": key, "label": f"{label}, {page.area_unit}" if key == "median_area" else label, "digits": digits}
            for key, (label, digits) in field_columns.items()
        ],
        "wells": records(shown),
        "thumbnails": {well: data_url(image, "jpeg") for well, image in page.images.items()},
        "times": _times(page.wells),
        # Rows without names: a plate has thousands of fields.
        "fields": {"columns": list(fields), "rows": [list(row.values()) for row in records(fields)]},
        "warnings": records(plate_warnings(page.wells) if page.warnings is None else page.warnings),
        "histograms": [{**item, "label": _histogram_label(item), "bins": BINS} for item in page.histograms],
        "folder": files.get("folder", ""),
        "images": files.get("images"),
    }


def metrics(wells: pd.DataFrame, area_unit: str) -> list[dict[str, str]]:
    """Every numeric column of wells that holds a value: key, label (with its unit), digits ("%" or "") and meaning."""
    numeric = [name for name in wells.select_dtypes("number") if name != "time" and wells[name].notna().any()]
    first = [name for name in METRICS if name in numeric]
    same = {"median_area_um2"} if area_unit == "µm²" else set()
    found = []
    for name in (*first, *(name for name in numeric if name not in METRICS and name not in same)):
        entry = column_of("plates/wells.tsv", name)
        label, digits = METRICS.get(name, (_label(name), ""))
        if name == "median_area":
            label = f"{label}, {area_unit}"
        if entry is not None and entry.type == NUMBER and entry.unit.startswith("share"):
            digits = "%"
        meaning = f"{label}: {entry.meaning}" if entry is not None and entry.meaning != label else ""
        if name == "median_area" and area_unit == "µm²":
            meaning = f"{label}: median area of the nuclei"
        found.append({"key": name, "label": label, "digits": digits, "meaning": meaning})
    return found


def _label(name: str) -> str:
    if name.startswith("mean_"):
        return f"mean intensity, {name.removeprefix('mean_')}"
    return LABELS.get(name, name.replace("_", " "))


def _histogram_label(item: Mapping[str, Any]) -> str:
    return _label(item["key"]) + (f", {item['unit']}" if item["unit"] else "")


def _times(wells: pd.DataFrame) -> list[int]:
    """The time points, sorted; none where the table has no such column."""
    return sorted(int(value) for value in wells["time"].unique()) if "time" in wells else []


def _about_images(images: Mapping[str, Any] | None) -> str:
    """How fine the images beside the page are, in words."""
    if images is None:
        return ""
    wells = f"Wells are shown at {_resolution(images['reduction'])}"
    fields = [
        f"{channel['name']} at {_resolution(channel['field'])}" for channel in images["channels"] if channel["field"]
    ]
    told = f"; single fields in {', '.join(fields)}" if fields else ""
    return (
        f"{wells}{told}. The images are JPEGs of 8 bits per channel ({_size(images['bytes'])}), to look at; "
        "measurements are of the stored pixels in plate.ome.zarr. Move this page together with the folder beside it."
    )


def _resolution(factor: int) -> str:
    return "full resolution" if factor == 1 else f"1/{factor} of the resolution"


def _size(count: float) -> str:
    """Bytes as text."""
    unit, of = next((unit, of) for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 0)) if count >= of / 10)
    return f"{count / (of or 1e3):.1f} {unit}"


def thumbnail_edge(wells: int) -> int:
    """Longer edge in pixels of every well's image within the page, so that all of them take some megabytes at most."""
    return THUMBNAIL if wells <= 96 else 160 if wells <= 384 else 80


def well_thumbnail(image: np.ndarray, labels: np.ndarray, edge: int = THUMBNAIL) -> bytes:
    """A small JPEG of a well: the image (y, x) from its 0.5th to its 99.8th percentile, labels outlined in yellow.

    Labels are (y, x) integers of the same shape; edge is the longer one of the JPEG, in pixels.
    """
    step = max(1, math.ceil(max(image.shape) / edge))
    shape = tuple(max(1, math.ceil(size / step)) for size in image.shape)
    small = resize(image.astype(np.float32), shape, order=1, anti_aliasing=step > 1, preserve_range=True)
    low, high = np.percentile(small, [0.5, 99.8])
    grey = (255 * np.clip((small - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
    # Outlines of the labels as they are seen at this size: nearest pixels, as numbers cannot be averaged.
    outline = find_boundaries(labels[::step, ::step][: shape[0], : shape[1]], mode="inner")
    coloured = np.stack([grey] * 3, axis=-1)
    coloured[: outline.shape[0], : outline.shape[1]][outline] = (255, 214, 10)
    buffer = io.BytesIO()
    iio.imwrite(buffer, coloured, extension=".jpg", quality=75)
    return buffer.getvalue()


def _conditions(wells: pd.DataFrame, plate_map: pd.DataFrame | None) -> tuple[dict | None, list[tuple[str, str]]]:
    """The table of conditions (of every time), and Z' of the controls (of the last time), as text."""
    if plate_map is None:
        return None, []
    measured = ["count", "median_area", "mean_intensity"]
    times = _times(wells)
    last = wells[wells["time"] == times[-1]] if times else wells
    if len(times) > 1:
        parts = [(time, summarize_conditions(wells[wells["time"] == time], plate_map, measured)) for time in times]
        table = pd.concat([part.assign(time=time) for time, part in parts])
    else:
        table = summarize_conditions(last, plate_map, measured)
    names = {name: name for name in ("treatment", "concentration", "control", "time", "wells") if name in table}
    names |= {f"{key}_{end}": f"{METRICS[key][0]}, {end}" for key in measured for end in ("mean", "sd")}
    rows = [[text(value) for value in row] for row in table[list(names)].itertuples(index=False, name=None)]
    joined = last.merge(plate_map, on="well")
    controls = {kind: joined[joined["control"] == kind] for kind in ("positive", "negative")}
    z_primes = [(METRICS[key][0], z_prime(controls["positive"][key], controls["negative"][key])) for key in measured]
    at = f" at time {times[-1]}" if len(times) > 1 else ""
    return (
        {"columns": list(names.values()), "rows": rows},
        [(f"{name}{at}", f"{value:.2f}") for name, value in z_primes if np.isfinite(value)],
    )
