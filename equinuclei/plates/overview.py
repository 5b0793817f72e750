"""Plates side by side: one row each, and how a laboratory's plates drift over time."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from equinuclei.pages.page import records, render, to_json
from equinuclei.plates.ledger import left_out_of
from equinuclei.plates.page import METRICS
from equinuclei.plates.quality import FEWEST_FOR_OUTLIERS, OUTLIER, modified_z, plate_warnings, read_plate_map, z_prime
from equinuclei.tables.files import read_table, write_table

logger = logging.getLogger("equinuclei.plates.overview")

FOLLOWED = ("count", "median_area", "mean_intensity", "focus")
"""Columns of wells.tsv whose medians are followed from plate to plate."""

COLUMNS = [
    "plate", "model", "acquired", "wells", "fields", "failed_fields", "nuclei", *FOLLOWED, "reference", "z_prime",
    "warnings", "drift", "raw_data", "left_out",
]  # fmt: skip


@dataclass(frozen=True)
class FinishedPlate:
    """Where the results of a plate lie.

    name, model : of the plate, and of the network that segmented it
    plate : `plate.ome.zarr`
    folder : with fields.tsv and wells.tsv of `equinuclei.plates.measure.measure_plate`
    plate_map : what is in its wells; None if unknown
    """

    name: str
    model: str
    plate: str | Path
    folder: str | Path
    plate_map: str | Path | None = None


def compare_plates(plates: Iterable[FinishedPlate], table: str | Path, page: str | Path) -> None:
    """Write one row per plate, and a page that shows how the plates drift.

    Parameters
    ----------
    plates
        In any order; the rows are sorted by acquisition, then by name.
    table
        TSV file to make, with the columns `COLUMNS`. count, median_area (pixels), mean_intensity and focus are medians
        over the wells that `reference` names: the negative controls of the plate map, else all wells. z_prime is that
        of the number of nuclei. drift lists the followed columns in which a plate is an outlier among those of its
        model (modified z-score over 3.5; of eight plates or more). raw_data says whether the raw folder may be deleted.
    page
        HTML file to make, beside the plates' folders. It works offline; its policy forbids it to load anything.

    Raises
    ------
    InputError
        If a plate map cannot be used.
    """
    rows = [_row(plate) for plate in plates]
    found = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "drift"])
    found = found.sort_values(["acquired", "plate", "model"], ignore_index=True)
    found["drift"] = _drift(found)
    found = found[COLUMNS]
    write_table(found, table, missing="")
    data = {
        "plates": records(found.assign(link=[_link(row.plate, row.model) for row in found.itertuples()])),
        "metrics": [{"key": key, "label": _label(key)} for key in FOLLOWED],
        "models": sorted(set(found["model"])),
        "outlier": OUTLIER / 0.6745,  # in units of the median absolute deviation
        "fewest": FEWEST_FOR_OUTLIERS,
    }
    render("plates.html", page, count=len(found), data=to_json(data))
    logger.info("%d plates, %d of them drift", len(found), int((found["drift"] != "").sum()))


def _label(key: str) -> str:
    label = METRICS[key][0]
    return {"count": "nuclei per well", "median_area": f"{label}, px²"}.get(key, label)


def _row(plate: FinishedPlate) -> dict:
    wells, fields = (read_table(Path(plate.folder, name), f"plates/{name}") for name in ("wells.tsv", "fields.tsv"))
    plate_map = read_plate_map(plate.plate_map) if plate.plate_map else None
    reference, score = wells, float("nan")
    if plate_map is not None:
        joined = wells.merge(plate_map, on="well")
        controls = {kind: joined[joined["control"] == kind] for kind in ("positive", "negative")}
        reference = controls["negative"] if len(controls["negative"]) else wells
        score = z_prime(controls["positive"]["count"], controls["negative"]["count"])
    acquired = sorted(set(fields["acquired"].dropna()) - {""})
    failed = int((fields["status"] != "ok").sum())
    found = left_out_of(plate.plate)
    kept = [one.text for one in found if one.needs_raw]
    return {
        "plate": plate.name,
        "model": plate.model,
        "acquired": acquired[0] if acquired else "",
        "wells": len(wells),
        "fields": len(fields),
        "failed_fields": failed,
        "nuclei": int(wells["count"].sum()),
        **{key: float(reference[key].median()) for key in FOLLOWED},
        "reference": "all wells" if reference is wells else "negative controls",
        "z_prime": score,
        "warnings": len(plate_warnings(wells)),
        "raw_data": f"keep: {'; '.join(kept)}" if kept else "may be deleted",
        "left_out": "; ".join(one.text for one in found if not one.needs_raw),
    }


def _drift(plates: pd.DataFrame) -> list[str]:
    """Of every plate, the columns in which it is an outlier among the plates of its model, with commas."""
    outlying = pd.DataFrame(False, plates.index, list(FOLLOWED))
    for _, group in plates.groupby("model"):
        for key in FOLLOWED:
            known = group[key].dropna()
            if len(known) >= FEWEST_FOR_OUTLIERS:
                outlying.loc[known.index, key] = np.abs(modified_z(known)) > OUTLIER
    return [", ".join(key for key in FOLLOWED if row[key]) for row in outlying.to_dict("records")]


def _link(plate: str, model: str) -> str:
    return f"{quote(plate)}/{quote(model)}/report.html"
