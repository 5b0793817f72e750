"""All plates on one page: those with results side by side, how they drift over time, and why others have none."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from equinuclei.errors import InputError, StoppedError, reading
from equinuclei.pages.page import records, render, to_json
from equinuclei.plates.facts import plate_facts
from equinuclei.plates.ledger import left_out_of
from equinuclei.plates.page import METRICS
from equinuclei.plates.quality import (
    FEWEST_FOR_OUTLIERS,
    OUTLIER,
    flagged_wells,
    modified_z,
    plate_warnings,
    read_plate_map,
    z_primes,
)
from equinuclei.plates.scan_table import FOR_A_PERSON, READY, REMOVED, WHAT_TO_DO, ScannedPlate, count_states
from equinuclei.tables.files import read_table, write_table

logger = logging.getLogger("equinuclei.plates.overview")

FOLLOWED = ("count", "median_area_um2", "median_area", "mean_intensity", "focus")
"""Columns of wells.tsv whose medians are followed from plate to plate; median_area where the pixel size is unknown."""

COLUMNS = [
    "plate", "project", "model", "acquired", "wells", "fields", "failed_fields", "nuclei", *FOLLOWED, "reference",
    "z_prime", "warnings", "flags", "drift", "raw_data", "left_out",
]  # fmt: skip


@dataclass(frozen=True)
class FinishedPlate:
    """Where the results of a plate lie.

    name, model : of the plate, and of the network that segmented it
    plate : `plate.ome.zarr`
    folder : with fields.tsv and wells.tsv of `equinuclei.plates.measure.measure_plate`, and segmentation.ome.zarr
    plate_map : what is in its wells; None if unknown
    project : plates of one project are compared; empty if none is known
    """

    name: str
    model: str
    plate: str | Path
    folder: str | Path
    plate_map: str | Path | None = None
    project: str = ""


def compare_plates(
    plates: Iterable[FinishedPlate], scanned: Sequence[ScannedPlate], table: str | Path, page: str | Path
) -> dict[str, str]:
    """Write one row per finished plate, and a page that shows all plates: results, drift, and why there are none.

    Parameters
    ----------
    plates
        Those that are finished, in any order; the rows are sorted by acquisition, then by name.
    scanned
        All plates, as the last scan found them.
    table
        TSV file to make, with the columns `COLUMNS`. count, median_area_um2, median_area (pixels), mean_intensity and
        focus are medians over the wells that `reference` names: the negative controls of the plate map, else all wells.
        z_prime is that of the number of nuclei. drift lists the followed columns in which a plate is an outlier among
        those of its project and model (modified z-score over 3.5; of eight plates or more). flags counts the wells that
        are flagged, by kind. raw_data says whether the raw folder may be deleted, left_out what else of it the plate
        does not hold.
    page
        HTML file to make, beside the plates' folders. It works offline; its policy forbids it to load anything.

    Returns
    -------
    dict
        What is wrong with the plates whose results or plate map cannot be read, by plate. They have no row; the page
        tells why.
    """
    rows, problems = _rows(plates)
    found = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "drift"])
    found = found.sort_values(["acquired", "plate", "model"], ignore_index=True)
    found["drift"] = _drift(found)
    found = found[COLUMNS]
    write_table(found, table, missing="")
    finished = set(found["plate"])
    shown = _comparable(found).assign(
        link=[_link(row.plate, row.model) for row in found.itertuples()],
        assay=[" · ".join(filter(None, (row.project, row.model))) for row in found.itertuples()],
    )
    data = {
        "plates": records(shown),
        "others": _with_problems(scanned, problems) + _without_result(scanned, finished | set(problems)),
        "metrics": [{"key": key, "label": _label(key)} for key in FOLLOWED if shown[key].notna().any()],
        "assays": sorted(set(shown["assay"])),
        "projects": bool((found["project"] != "").any()),
        "outlier": OUTLIER / 0.6745,  # in units of the median absolute deviation
        "fewest": FEWEST_FOR_OUTLIERS,
    }
    known = {plate.plate for plate in scanned} | finished | set(problems)
    render("plates.html", page, count=len(known), states=count_states(scanned, finished), data=to_json(data))
    logger.info("%d plates, %d of them drift", len(found), int((found["drift"] != "").sum()))
    for plate, why in problems.items():
        logger.error("%s: %s", plate, why)
    return problems


def _rows(plates: Iterable[FinishedPlate]) -> tuple[list[dict], dict[str, str]]:
    """A row per plate, and what is wrong with those that have none: one of them keeps no other from the page."""
    rows: list[dict] = []
    problems: dict[str, str] = {}
    for plate in plates:
        try:
            with reading(plate.folder, "mend it, or remove it and run again"):
                rows.append(_row(plate))
        except (InputError, StoppedError) as error:
            problems[plate.name] = str(error)
    return rows, problems


def _with_problems(scanned: Sequence[ScannedPlate], problems: Mapping[str, str]) -> list[dict[str, str]]:
    """Of every plate whose results cannot be read: the reason, and what to do."""
    folders = {plate.plate: plate.folder for plate in scanned}
    todo = "mend what the reason names: the next tick looks again"
    return [
        {
            "plate": plate,
            "status": "not compared",
            "why": why,
            "todo": todo,
            "folder": folders.get(plate, ""),
            "urgent": "yes",
        }
        for plate, why in problems.items()
    ]


def _without_result(scanned: Sequence[ScannedPlate], finished: set[str]) -> list[dict[str, str]]:
    """Of every plate that is not finished as it lies in the inbox: its state, the reason, and what to do."""
    others = [plate for plate in scanned if plate.status not in (READY, REMOVED) or plate.plate not in finished]
    others.sort(key=lambda plate: (plate.status not in FOR_A_PERSON, plate.status, plate.plate))
    return [
        {
            "plate": plate.plate,
            "status": "not finished" if plate.status == READY else plate.status,
            "why": plate.why or "its jobs ended without a result",
            "todo": WHAT_TO_DO[plate.status].replace("<plate>", plate.plate),
            "folder": plate.folder,
            "urgent": "yes" if plate.status in (*FOR_A_PERSON, READY) else "",
        }
        for plate in others
    ]


def _label(key: str) -> str:
    labels = {
        "count": "nuclei per well",
        "median_area_um2": "median area, µm²",
        "median_area": "median area, px²",
    }
    return labels.get(key) or METRICS[key][0]


def _row(plate: FinishedPlate) -> dict:
    wells, fields = (read_table(Path(plate.folder, name), f"plates/{name}") for name in ("wells.tsv", "fields.tsv"))
    plate_map = read_plate_map(plate.plate_map) if plate.plate_map else None
    reference = wells
    if plate_map is not None:
        negative = plate_map.loc[plate_map["control"] == "negative", "well"]
        controls = wells[wells["well"].isin(negative)]
        reference = controls if len(controls) else wells
    acquired = sorted(set(fields["acquired"].dropna()) - {""})
    found = left_out_of(plate.plate)
    kept = [one.text for one in found if one.needs_raw]
    facts = plate_facts(plate.plate, Path(plate.folder, "segmentation.ome.zarr"))
    return {
        "plate": plate.name,
        "project": plate.project,
        "model": plate.model,
        "acquired": acquired[0] if acquired else "",
        "wells": int(wells["well"].nunique()),
        "fields": len(fields),
        "failed_fields": int((fields["status"] != "ok").sum()),
        "nuclei": int(wells["count"].sum()),
        **{key: float(reference[key].dropna().median()) for key in FOLLOWED},
        "reference": "all wells" if reference is wells else "negative controls",
        "z_prime": z_primes(wells, plate_map).get("count", float("nan")),
        "warnings": len(plate_warnings(wells, plate_map, facts, fields)),
        "flags": flagged_wells(wells, facts),
        "raw_data": f"keep: {'; '.join(kept)}" if kept else "may be deleted",
        "left_out": "; ".join(one.text for one in found if not one.needs_raw),
    }


def _comparable(plates: pd.DataFrame) -> pd.DataFrame:
    """The plates without areas in pixels where they are known in micrometres: pixels differ between objectives."""
    return plates.assign(median_area=plates["median_area"].where(plates["median_area_um2"].isna()))


def _drift(plates: pd.DataFrame) -> list[str]:
    """Of every plate, the columns in which it is an outlier among the plates of its project and model, with commas."""
    outlying = pd.DataFrame(False, plates.index, list(FOLLOWED))
    for _, group in _comparable(plates).groupby(["project", "model"]):
        for key in FOLLOWED:
            known = group[key].dropna()
            if len(known) >= FEWEST_FOR_OUTLIERS:
                outlying.loc[known.index, key] = np.abs(modified_z(known)) > OUTLIER
    return [", ".join(key for key in FOLLOWED if row[key]) for row in outlying.to_dict("records")]


def _link(plate: str, model: str) -> str:
    return f"{quote(plate)}/{quote(model)}/report.html"
