"""The nuclei of a segmented plate, measured: tables of nuclei, fields and wells."""

import logging
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from equinuclei.channels import ChannelChoice
from equinuclei.errors import StoppedError
from equinuclei.images.measure import measure_nuclei, summarize
from equinuclei.images.quality import contrast_score, focus_score, saturated_share, sharpness_score, skewness_score
from equinuclei.images.rescaling import typical_diameter
from equinuclei.omezarr.plates import Plate, WellImage
from equinuclei.plates.fields import LABEL, ConvertedPlate, ConvertedWell, read_statuses
from equinuclei.plates.ledger import LEDGER, check_pixels, read_ledger
from equinuclei.runtime.files import replacing
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.plates.measure")

SURENESS = ("mean_probability", "solidity")
"""Mean over the nuclei of a field or well of what tells whether they are nuclei."""

SCORES = ("focus", "saturated", "skewness", "sharpness", "contrast")
"""Of a field's pixels in the nuclear channel (`equinuclei.images.quality`)."""


def measure_plate(
    plate: str | Path,
    fields: str | Path,
    segmentation: str | Path,
    *,
    channel: ChannelChoice | None,
    nuclei_table: str | Path,
    fields_table: str | Path,
    wells_table: str | Path,
) -> None:
    """Measure every nucleus of a plate, in all channels.

    Parameters
    ----------
    plate, fields
        `plate.ome.zarr` and `fields.parquet` of `equinuclei.plates.convert.convert_plate`.
    segmentation
        Of `equinuclei.plates.segment.segment_plate`.
    channel
        The one in which nuclei were segmented: the summaries give its intensity, the quality scores are of its pixels.
    nuclei_table
        Parquet file to make: plate, well, and the columns of `equinuclei.images.measure.measure_nuclei`; a row per
        nucleus. `label` is its number in `labels/nuclei` of its well. Of plates with an axis t, time is the index
        along it, in all three tables.
    fields_table, wells_table
        TSV files to make: count, at_border, median_area (pixels), median_area_um2, a mean per channel, mean_intensity
        (of `channel`), `SCORES`, mean_probability and solidity; of fields status (ok, missing, ...), of wells fields,
        failed_fields and empty_fields (shares).

    Raises
    ------
    InputError
        If an input or the channel is missing, stored pixels are damaged, or the plate lacks a pixel that its ledger
        says is there.
    StoppedError
        If the plate's ledger is not there.
    """
    converted = ConvertedPlate(plate, fields, channel)
    of_fields: list[pd.DataFrame] = []
    of_wells: list[pd.DataFrame] = []

    def measured_nuclei() -> Iterator[pd.DataFrame]:
        for tables in _measured_wells(converted, Plate(segmentation), fields):
            of_fields.append(tables.fields)
            of_wells.append(tables.wells)
            yield tables.nuclei

    _write_nuclei(nuclei_table, converted.store.name, measured_nuclei())
    for tables, path in ((of_fields, fields_table), (of_wells, wells_table)):
        rows = [table for table in tables if len(table)] or tables[:1]
        write_table(pd.concat(rows, ignore_index=True), path, missing="")
    logger.info("%d nuclei in %d wells", sum(int(table["count"].sum()) for table in of_wells), len(of_wells))


class _Tables(NamedTuple):
    """The tables of a well at a time point."""

    nuclei: pd.DataFrame
    fields: pd.DataFrame
    wells: pd.DataFrame


def _measured_wells(plate: ConvertedPlate, segmented: Plate, fields: str | Path) -> Iterator[_Tables]:
    """Every well of a plate at every time point, measured."""
    statuses, ledger = _channel_statuses(fields, plate), _ledger_of(plate.store)
    for name in plate.store.wells:
        well = plate.well(name)
        for time in range(well.image.times):
            # Whole and compared with their checksums: what the page says of the raw folder rests on them.
            mosaic = well.image.read(time)
            if ledger is not None:
                check_pixels(ledger, name, well.image.channels, mosaic, time)
            nuclei, scores = _measure_well(well, mosaic, segmented.image(name), time)
            of_well = statuses[(statuses["well"] == name) & (statuses["time"] == time)]
            tables = _Tables(
                nuclei,
                _summarize_fields(well, nuclei, scores, of_well),
                _summarize_well(well, nuclei, scores, of_well),
            )
            if well.image.has_time:
                for table in tables:
                    table.insert(list(table.columns).index("well") + 1, "time", time)
            yield tables


def _ledger_of(plate: Plate) -> pd.DataFrame | None:
    """The ledger of a plate; None if it was converted before there was one.

    Raises StoppedError if the one that was written with it is not there: the page would say that pixels were compared
    which nobody compared.
    """
    ledger = read_ledger(plate.path)
    if ledger is None and plate.notes.get("ledger") is not None:
        raise StoppedError(
            f"{plate.path.with_name(LEDGER)} is not there, or not the one that was written with the plate: its pixels "
            f"cannot be compared. Put it back; or remove {plate.path.name} and run again, while the raw folder is there"
        )
    return ledger


def _channel_statuses(fields: str | Path, plate: ConvertedPlate) -> pd.DataFrame:
    """well, field, time, status and acquired of every field in the nuclear channel."""
    name = plate.store.image(plate.store.wells[0]).channels[plate.channel]
    table = read_statuses(fields)
    return table[table["channel"] == name].drop(columns="channel")


def _measure_well(
    well: ConvertedWell, mosaic: np.ndarray, segmented: WellImage, time: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nuclei of a well at a time point, and the scores of its readable fields in the nuclear channel.

    mosaic : pixels (c, y, x) of the well. The scores are field and `SCORES`.
    """
    readable = well.readable(time)
    placed = readable if len(readable) else well.placed
    labels = segmented.label(LABEL).read(time)
    nuclei = measure_nuclei(
        labels,
        mosaic,
        channels=well.image.channels,
        pixel_size=well.image.pixel_size,
        fields=placed.rename(columns={"y0": "y", "x0": "x"}),
        probability=segmented.read(time)[0] / np.float32(255),
    )
    scores = []
    inside, diameter = labels > 0, typical_diameter(labels)
    for row in readable.itertuples():
        place = slice(row.y0, row.y0 + row.height), slice(row.x0, row.x0 + row.width)
        pixels = mosaic[well.nuclear_channel][place]
        scores.append(
            {
                "field": row.field,
                "focus": focus_score(pixels),
                "saturated": saturated_share(pixels),
                "skewness": skewness_score(pixels),
                "sharpness": sharpness_score(pixels, inside[place], diameter),
                "contrast": contrast_score(pixels, inside[place]),
            }
        )
    nuclei.insert(0, "well", well.name)
    nuclei.attrs["contrast"] = contrast_score(mosaic[well.nuclear_channel], inside, well.valid_pixels(time))
    return nuclei, pd.DataFrame(scores, columns=["field", *SCORES]).astype(dict.fromkeys(SCORES, float))


def _summarize_fields(
    well: ConvertedWell, nuclei: pd.DataFrame, scores: pd.DataFrame, statuses: pd.DataFrame
) -> pd.DataFrame:
    """A row per field of a well: its nuclei, scores, status and time."""
    table = summarize(nuclei, ["well", "field"], statuses[["well", "field"]])
    by_field = {field: _sureness(rows) for field, rows in nuclei.groupby("field")}
    sureness = pd.DataFrame.from_dict(by_field, orient="index", columns=list(SURENESS), dtype=float)
    scores = scores.join(sureness, on="field")
    table = table.merge(scores, on="field", how="left").merge(statuses.drop(columns="time"), on=["well", "field"])
    return table.assign(mean_intensity=table[_nuclear_mean(well)])


def _summarize_well(
    well: ConvertedWell, nuclei: pd.DataFrame, scores: pd.DataFrame, statuses: pd.DataFrame
) -> pd.DataFrame:
    """One row: the nuclei of a well, its scores, and how many of its fields could not be read."""
    table = summarize(nuclei, ["well"], pd.DataFrame({"well": [well.name]}))
    return table.assign(
        mean_intensity=table[_nuclear_mean(well)],
        focus=_median(scores["focus"]),
        saturated=scores["saturated"].mean() if len(scores) else 0.0,
        skewness=_median(scores["skewness"]),
        sharpness=_median(scores["sharpness"]),
        fields=len(statuses),
        failed_fields=float((statuses["status"] != "ok").mean()),
        empty_fields=float((~scores["field"].isin(nuclei["field"])).mean()) if len(scores) else 0.0,
        contrast=nuclei.attrs["contrast"],
        **_sureness(nuclei),
    )


def _median(scores: pd.Series) -> float:
    """NaN, without a warning, where no field has the score."""
    return float(scores.median()) if scores.notna().any() else math.nan


def _sureness(nuclei: pd.DataFrame) -> dict[str, float]:
    """`SURENESS` of nuclei."""
    if nuclei.empty:
        return dict.fromkeys(SURENESS, np.nan)
    return {
        "mean_probability": float(nuclei["probability"].mean()),
        "solidity": float(np.average(nuclei["solidity"], weights=nuclei["area"])),
    }


def _nuclear_mean(well: ConvertedWell) -> str:
    """Column that holds the mean of the nuclear channel."""
    return f"mean_{well.image.channels[well.nuclear_channel]}"


def _write_nuclei(path: str | Path, plate: str, wells: Iterator[pd.DataFrame]) -> None:
    """Write the nuclei of all wells into one Parquet file, holding one well at a time in memory."""

    def to_table(nuclei: pd.DataFrame) -> pa.Table:
        table = pa.Table.from_pandas(nuclei.assign(plate=plate)[["plate", *nuclei.columns]], preserve_index=False)
        # Text of a well without nuclei has no type yet, and the first well decides for all.
        for number, field in enumerate(table.schema):
            if pa.types.is_null(field.type):
                table = table.set_column(number, field.with_type(pa.string()), table.column(number).cast(pa.string()))
        return table

    tables = map(to_table, wells)
    first = next(tables)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        for table in chain([first], tables):
            writer.write_table(table.cast(writer.schema))
