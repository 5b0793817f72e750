"""A small plate on disk with pixels that are known, and the page made of it."""

import numpy as np
import pandas as pd

from equinuclei.omezarr.blocks import SMALLEST_LEVEL_OF_MAPS
from equinuclei.omezarr.plates import Plate
from equinuclei.omezarr.writing import (
    PlateChannel,
    create_image,
    create_label,
    create_plate,
    write_field_table,
    write_pixels,
)
from equinuclei.plates.page import PlatePage, write_page
from equinuclei.plates.page_files import PageFiles, write_page_files
from equinuclei.plates.page_images import PlatePixels

FIELDS = pd.DataFrame(
    [(1, 0, 0), (2, 0, 600), (3, 600, 0), (4, 600, 600)], columns=["field", "y0", "x0"]
).assign(height=600, width=600)  # fmt: skip
SIZE = (1200, 1200)


def value(well, channel, field):
    """The stored value of most pixels of a field; 0 where it has no image: the fourth field of channel 1."""
    return 0 if (channel, field) == (1, 4) else 1000 * (field + 4 * channel) + 100 * well


def make_plate(folder, wells=("A01", "B02"), channels=("DAPI", "GFP"), times=None):
    """Pixels of a plate of four fields per well, a square nucleus in the middle of each; 50 brighter at every time."""
    plate = create_plate(folder / "plate.ome.zarr", "P", wells)
    segmentation = create_plate(folder / "segmentation.ome.zarr", "P", wells)
    labels = np.zeros(SIZE, np.uint32)
    for row in FIELDS.itertuples():
        labels[row.y0 + 270 : row.y0 + 330, row.x0 + 270 : row.x0 + 330] = row.field
    for number, well in enumerate(wells):
        image = create_image(plate, well, [PlateChannel(name) for name in channels], SIZE, np.uint16, 0.5, times)
        stored = np.zeros((len(channels), *SIZE), np.uint16)
        for channel in range(len(channels)):
            for row in FIELDS.itertuples():
                stored[channel, row.y0 : row.y0 + 600, row.x0 : row.x0 + 600] = value(number, channel, row.field)
        for time in range(times or 1):
            write_pixels(
                image, lambda c, y, x, later=stored + 50 * (stored > 0) * time: later[c, y, x].astype("uint16"), time
            )
        over = create_image(segmentation, well, [PlateChannel("p")], SIZE, np.uint8, 0.5, times, SMALLEST_LEVEL_OF_MAPS)
        nuclei = create_label(segmentation, well, "nuclei")
        for time in range(times or 1):
            write_pixels(over, lambda c, y, x: np.zeros((y.stop - y.start, x.stop - x.start), np.uint8), time)
            write_pixels(nuclei, lambda y, x: labels[y, x], time)
    write_field_table(plate, dict.fromkeys(wells, FIELDS))
    return PlatePixels(Plate(plate.path), Plate(segmentation.path), 0)


def tables(wells, **more):
    """Tables of wells, fields and nuclei: a nucleus per field."""
    of_wells = pd.DataFrame({"well": wells, "count": 4, "median_area": 3600.0, "mean_intensity": 5.0, "focus": 0.5,
                             "saturated": 0.0, "fields": 4, "failed_fields": 0.0, **more})  # fmt: skip
    fields = pd.DataFrame([{"well": well, "field": field, "count": 1, "median_area": 3600.0, "mean_intensity": 5.0,
                            "focus": 0.1, "status": "ok"} for well in wells for field in range(1, 5)])  # fmt: skip
    nuclei = pd.DataFrame([{"plate": "=1+1", "well": well, "label": n, "area": 3600, "area_um2": 900.0,
                            "mean_DAPI": 100.0 * n} for well in wells for n in range(1, 5)])  # fmt: skip
    return of_wells, fields, nuclei


def make_page(folder, pixels, budget=1e9, plate_map=None, **more):
    """report.html of a plate, and the folder beside it."""
    wells, fields, nuclei = tables(pixels.plate.wells)
    nuclei.to_parquet(folder / "nuclei.parquet")
    path = folder / "report.html"
    files = write_page_files(PageFiles(pixels, wells, fields, folder / "nuclei.parquet", plate_map), path, budget)
    write_page(
        PlatePage(**{"plate": "P", "model": "m", "wells": wells, "fields": fields, "images": {}, "files": files,
                     "plate_map": plate_map} | more),
        path,
    )  # fmt: skip
    return path
