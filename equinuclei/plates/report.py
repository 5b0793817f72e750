"""The page of a plate, from what was measured; and whether its raw folder may be deleted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.channels import ChannelChoice
from equinuclei.errors import InputError
from equinuclei.images.metrics import object_scores
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.omezarr.plates import Plate
from equinuclei.plates.facts import plate_facts
from equinuclei.plates.histograms import nuclear_histograms
from equinuclei.plates.ledger import about_raw_folder, left_out_of
from equinuclei.plates.page import PlatePage, thumbnail_edge, well_thumbnail, write_page
from equinuclei.plates.page_files import PageFiles, write_page_files
from equinuclei.plates.page_images import PlatePixels
from equinuclei.plates.quality import field_flags, plate_shape, plate_warnings, read_plate_map, verdict
from equinuclei.sources import read_mask
from equinuclei.tables.files import read_table


@dataclass(frozen=True)
class MeasuredPlate:
    """Where a plate lies, and what was found on it.

    plate : `plate.ome.zarr` of `equinuclei.plates.convert.convert_plate`
    segmentation : of `equinuclei.plates.segment.segment_plate`
    fields, wells, nuclei : tables of `equinuclei.plates.measure.measure_plate`; without nuclei, the page has no
        distributions and no download of them
    """

    plate: str | Path
    segmentation: str | Path
    fields: str | Path
    wells: str | Path
    nuclei: str | Path | None = None


def report_plate(
    measured: MeasuredPlate,
    page: str | Path,
    *,
    model: str,
    channel: ChannelChoice | None,
    plate_map: str | Path | None = None,
    truth: str | Path | None = None,
    image_budget: float = 0,
    workers: int = 1,
) -> None:
    """Write the page of a plate (`equinuclei.plates.page.write_page`), and the folder `<page>_files` beside it.

    Parameters
    ----------
    measured, page
        What the page shows, and the HTML file to make.
    model, channel
        Name of the network that segmented the plate, and the channel in which it did.
    plate_map
        Table of what is in the wells (see `equinuclei.plates.quality.read_plate_map`); None: unknown.
    truth
        Folder with `<well>.tif`, the true labels of a well's mosaic (y, x), where they are known: the page then shows
        pixel and object F1 (IoU 0.5), pooled over the wells.
    image_budget, workers
        Bytes for the images beside the page (`equinuclei.plates.page_images`), 0: none; and threads that make them.

    Raises
    ------
    InputError
        If an input or the channel is missing, the plate map cannot be used, or a truth has another size than its well.
    """
    plate = Plate(measured.plate)
    pixels = PlatePixels(plate, Plate(measured.segmentation), plate.channel_index(channel))
    wells, fields = read_table(measured.wells, "plates/wells.tsv"), read_table(measured.fields, "plates/fields.tsv")
    found = left_out_of(measured.plate)
    known = read_plate_map(plate_map) if plate_map else None
    facts = plate_facts(measured.plate, measured.segmentation)
    files = write_page_files(PageFiles(pixels, wells, fields, measured.nuclei, known), page, image_budget, workers)
    judged, warnings = verdict(wells, facts), plate_warnings(wells, known, facts, fields)
    wells, fields, area_unit = _in_known_units(wells, fields.assign(flags=field_flags(fields, facts)))
    content = PlatePage(
        plate=plate.name,
        model=model,
        wells=wells,
        fields=fields,
        images={well: _thumbnail(pixels, well) for well in plate.wells},
        files=files,
        histograms=nuclear_histograms(measured.nuclei) if measured.nuclei else (),
        area_unit=area_unit,
        acquired=min(set(fields["acquired"].dropna()) - {""}, default="")[:16].replace("T", " "),
        plate_map=known,
        truth=_score(pixels, Path(truth)) if truth else {},
        left_out=[one.text for one in found],
        footer=about_raw_folder(found),
        warnings=warnings,
        verdict=judged,
        shape=plate_shape(list(wells["well"]), facts.shape),
    )
    write_page(content, page)


def _in_known_units(wells: pd.DataFrame, fields: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The tables with median_area in square micrometres where the pixel size is known, and its unit."""
    if wells["median_area_um2"].isna().all():
        return wells, fields, "px²"
    wells, fields = (table.assign(median_area=table["median_area_um2"]) for table in (wells, fields))
    return wells, fields, "µm²"


def _score(pixels: PlatePixels, truth: Path) -> dict[str, float]:
    """Pixel and object F1 of all wells together, by the text that the page shows."""
    counts = {"pixel": np.zeros(3, np.int64), "object": np.zeros(3, np.int64)}
    for well in pixels.plate.wells:
        true, found = read_mask(truth / f"{well}.tif"), pixels.labels(well, 0, 0)
        if true.shape != found.shape:
            raise InputError(f"{truth}/{well}.tif is {true.shape}, but the well {found.shape} pixels (y, x)")
        of_pixels = pixel_scores(true > 0, found > 0)
        objects = object_scores(true, found, [0.5]).iloc[0]
        for kind, scores in (("pixel", of_pixels), ("object", objects)):
            counts[kind] += np.array([scores[name] for name in ("TP", "FP", "FN")], np.int64)
    return {f"{kind} F1": _f1(*map(int, of_kind)) for kind, of_kind in counts.items()}


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / max(1, 2 * tp + fp + fn)


def _thumbnail(pixels: PlatePixels, well: str) -> bytes:
    """Image and outlines at the first time, from the coarsest levels that are still as large as a thumbnail."""
    image, edge = pixels.plate.image(well), thumbnail_edge(len(pixels.plate.wells))
    longer = max(image.height, image.width)
    level = max((n for n in range(pixels.levels(well)) if longer >> n >= edge), default=0)
    channel = pixels.read(well, 0, pixels.nuclear_channel, level)
    labels = pixels.labels(well, 0, level)
    height, width = (min(a, b) for a, b in zip(channel.shape, labels.shape, strict=True))
    return well_thumbnail(channel[:height, :width], labels[:height, :width], edge)
