"""From a segmented plate to its tables and its page: from and to files."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from equinuclei.errors import InputError
from equinuclei.images.measure import measure_nuclei, summarize
from equinuclei.images.metrics import object_scores
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.omezarr.plates import (
    level_count,
    list_wells,
    open_well,
    plate_attributes,
    plate_name,
    read_channels,
    read_field_table,
    read_pixel_size,
    read_well,
)
from equinuclei.plates.fields import LABEL, channel_number, fields_with_image
from equinuclei.plates.page import THUMBNAIL, well_thumbnail, write_page
from equinuclei.plates.quality import focus_score, read_plate_map, saturated_share
from equinuclei.runtime.files import replacing
from equinuclei.sources import read_mask
from equinuclei.tables.files import read_table, write_table

logger = logging.getLogger("equinuclei.plates.results")

SUMMARY_COLUMNS = ["count", "at_border", "median_area", "median_area_um2"]


def measure_plate(
    plate: str | Path,
    fields: str | Path,
    segmentation: str | Path,
    *,
    channel: str | None,
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
        The one that nuclei were segmented in: its intensity stands in the summaries, its pixels in the quality scores.
    nuclei_table
        Parquet file to make: plate, well, and the columns of `equinuclei.images.measure.measure_nuclei`; a row per
        nucleus. `label` is its number in `labels/nuclei` of its well.
    fields_table, wells_table
        TSV files to make: count, at_border, median_area (pixels), median_area_um2, a mean per channel, mean_intensity
        (of `channel`), focus, saturated (share of pixels); of fields status (ok, missing, ...), of wells fields and
        failed_fields (share).
    """
    wells, name = list_wells(plate), plate_name(plate)
    number = channel_number(plate, wells, channel)
    status = _status(fields, read_channels(plate, wells[0])[number])
    of_fields, of_wells = [], []
    with replacing(nuclei_table) as temporary:
        writer = None
        for well in wells:
            nuclei, scored = _measure_well(plate, fields, segmentation, well, number)
            mean = f"mean_{read_channels(plate, well)[number]}"
            every = status[status["well"] == well]
            named = nuclei.assign(well=well)
            by_field = summarize(named, ["well", "field"], every[["well", "field"]])
            by_field = by_field.merge(scored, on="field", how="left").merge(every, on=["well", "field"])
            by_well = summarize(named, ["well"], pd.DataFrame({"well": [well]}))
            of_fields.append(by_field.assign(mean_intensity=by_field[mean]))
            of_wells.append(
                by_well.assign(
                    mean_intensity=by_well[mean],
                    focus=scored["focus"].median(),
                    saturated=scored["saturated"].mean() if len(scored) else 0.0,
                    fields=len(every),
                    failed_fields=float((every["status"] != "ok").mean()),
                )
            )
            named.insert(0, "plate", name)
            table = pa.Table.from_pandas(_well_second(named), preserve_index=False)
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema))
        writer.close()
    for tables, path in ((of_fields, fields_table), (of_wells, wells_table)):
        write_table(pd.concat(tables, ignore_index=True), path, missing="")
    logger.info("%d nuclei in %d wells", sum(int(table["count"].sum()) for table in of_wells), len(wells))


def report_plate(
    plate: str | Path,
    segmentation: str | Path,
    fields_table: str | Path,
    wells_table: str | Path,
    *,
    model: str,
    channel: str | None,
    plate_map: str | Path | None,
    truth: str | Path | None,
    page: str | Path,
) -> None:
    """Write the page of a plate (`equinuclei.plates.page.write_page`) from what `measure_plate` has made.

    truth : folder with `<well>.tif`, the true labels of a well's mosaic (y, x), where they are known: the page then
    shows pixel and object F1 (IoU 0.5), pooled over the wells.
    """
    wells, fields = read_table(wells_table, "plates/wells.tsv"), read_table(fields_table, "plates/fields.tsv")
    number = channel_number(plate, list(wells["well"]), channel)
    in_micrometres = wells["median_area_um2"].notna().any()
    if in_micrometres:
        wells, fields = (table.assign(median_area=table["median_area_um2"]) for table in (wells, fields))
    acquired = sorted(set(fields["acquired"].dropna()) - {""})
    write_page(
        page,
        plate=plate_name(plate),
        model=model,
        wells=wells,
        fields=fields,
        images={well: _thumbnail(plate, segmentation, well, number) for well in wells["well"]},
        area_unit="µm²" if in_micrometres else "px²",
        acquired=acquired[0][:16].replace("T", " ") if acquired else "",
        plate_map=read_plate_map(plate_map) if plate_map else None,
        truth=_score(segmentation, truth, list(wells["well"])) if truth else None,
        footer=_footer(why_keep_raw(plate, fields)),
    )


def _score(segmentation: str | Path, truth: str | Path, wells: Sequence[str]) -> dict[str, float]:
    counts = {"pixel": np.zeros(3, np.int64), "object": np.zeros(3, np.int64)}
    for well in wells:
        true, found = read_mask(Path(truth, f"{well}.tif")), np.asarray(open_well(segmentation, well, label=LABEL)[:])
        if true.shape != found.shape:
            raise InputError(f"{truth}/{well}.tif is {true.shape}, but the well {found.shape} pixels (y, x)")
        pixels = pixel_scores(true > 0, found > 0)
        objects = object_scores(true, found, [0.5]).iloc[0]
        counts["pixel"] += [pixels[name] for name in ("TP", "FP", "FN")]
        counts["object"] += [int(objects[name]) for name in ("TP", "FP", "FN")]
    return {f"{name} F1": float(2 * tp / max(1, 2 * tp + fp + fn)) for name, (tp, fp, fn) in counts.items()}


def why_keep_raw(plate: str | Path, fields: pd.DataFrame) -> str:
    """What a plate's raw folder holds that its conversion does not; empty if nothing.

    plate : `plate.ome.zarr`; fields : the table of fields that `measure_plate` has made of it, pixels compared.
    """
    about = plate_attributes(plate).get("equinuclei", {})
    failed = int((fields["status"] != "ok").sum())
    reasons = [f"{failed} of {len(fields)} fields could not be read"] if failed else []
    if left_out := about.get("channels_left_out"):
        reasons.append(f"not converted: {', '.join(left_out)}")
    if corrected := about.get("flat_field_corrected"):
        reasons.append(f"corrected for uneven illumination: {', '.join(corrected)}")
    return "; ".join(reasons)


def _footer(why_keep: str) -> str:
    if why_keep:
        return f"Keep the raw folder: {why_keep}."
    return (
        "All fields were read, and plate.ome.zarr keeps their pixels (of stacks the plane or projection that was "
        "chosen). For this workflow the raw folder may be deleted."
    )


def _measure_well(
    plate: str | Path, fields: str | Path, segmentation: str | Path, well: str, number: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nuclei of a well; and focus and saturation of its readable fields in one channel: field, focus, saturated."""
    # Whole and compared with their checksums: what the page says of the raw folder rests on them.
    mosaic, labels = read_well(plate, well), read_well(segmentation, well, label=LABEL)
    placed = fields_with_image(fields, plate, well)
    nuclei = measure_nuclei(
        labels,
        mosaic,
        channels=read_channels(plate, well),
        pixel_size=read_pixel_size(plate, well),
        fields=_rectangles(placed if len(placed) else read_field_table(plate, well)),
        probability=read_well(segmentation, well)[0] / np.float32(255),
    )
    scored = [
        {"field": row.field, "focus": focus_score(pixels), "saturated": saturated_share(pixels)}
        for row in placed.itertuples()
        for pixels in [mosaic[number, row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width]]
    ]
    return nuclei, pd.DataFrame(scored, columns=["field", "focus", "saturated"])


def _status(fields: str | Path, channel: str) -> pd.DataFrame:
    """well, field, status and acquired of every field in one channel."""
    table = pd.read_parquet(fields, columns=["well", "field", "channel", "status", "acquired"])
    return table[table["channel"] == channel].drop(columns="channel")


def _rectangles(placed: pd.DataFrame) -> pd.DataFrame:
    return placed.rename(columns={"y0": "y", "x0": "x"})


def _well_second(nuclei: pd.DataFrame) -> pd.DataFrame:
    nuclei.insert(1, "well", nuclei.pop("well"))
    return nuclei


def _thumbnail(plate: str | Path, segmentation: str | Path, well: str, number: int) -> bytes:
    """Image and outlines from the coarsest levels of both pyramids that are still as large as a thumbnail."""
    levels = min(level_count(plate, well), level_count(segmentation, well, LABEL))
    level = max((n for n in range(levels) if max(open_well(plate, well, n).shape) >= THUMBNAIL), default=0)
    image = np.asarray(open_well(plate, well, level)[number])
    labels = np.asarray(open_well(segmentation, well, level, label=LABEL)[:])
    height, width = (min(a, b) for a, b in zip(image.shape, labels.shape, strict=True))
    return well_thumbnail(image[:height, :width], labels[:height, :width])
