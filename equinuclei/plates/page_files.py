"""The folder beside the page of a plate: images of wells and fields, and its tables to download."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from equinuclei.checksums import digest, sha256
from equinuclei.plates.downloads import write_downloads
from equinuclei.plates.page_images import PlatePixels, write_page_images
from equinuclei.runtime.files import make_folder, write_json

CONTENTS = "contents.json"


@dataclass(frozen=True)
class PageFiles:
    """What lies beside the page of a plate.

    pixels : of its images
    wells, fields, nuclei : tables of `equinuclei.plates.measure.measure_plate`; of nuclei the path, if it is known
    plate_map : see `equinuclei.plates.quality.read_plate_map`
    """

    pixels: PlatePixels
    wells: pd.DataFrame
    fields: pd.DataFrame
    nuclei: str | Path | None = None
    plate_map: pd.DataFrame | None = None


def write_page_files(files: PageFiles, page: str | Path, image_budget: float, workers: int = 1) -> dict[str, Any]:
    """Write the folder `<page>_files`, in the place of one that this function has made before.

    No name in it comes from the plate: wells, fields and channels are named by their numbers.

    image_budget : bytes for images (`equinuclei.plates.page_images.write_page_images`); 0: none; workers : threads.

    Returns plain values: folder (its name), images (None if there are none), and downloads (`write_downloads`). They
    are in its `contents.json` too.
    """
    folder = Path(page).with_name(f"{Path(page).stem}_files")

    def build(unfinished: Path) -> None:
        images = None
        if image_budget > 0:
            images = write_page_images(files.pixels, unfinished, budget=image_budget, workers=workers)
        downloads = write_downloads(unfinished, files.wells, files.fields, files.nuclei, files.plate_map)
        write_json(unfinished / CONTENTS, {"folder": folder.name, "images": images, "downloads": downloads})

    tables = [table.to_csv() for table in (files.wells, files.fields)]
    key = digest([str(files.pixels.plate.path), *tables, image_budget, sha256(files.nuclei) if files.nuclei else ""])
    make_folder(folder, key, build, anew=True)
    return json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
