"""Plates read back: what was written, and what to do about a plate that is absent, unfinished or damaged."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from ngio import Roi, open_ome_zarr_container
from ngio.tables import RoiTable

from equinuclei.errors import InputError, UnavailableError
from equinuclei.omezarr.plates import FIELD_TABLE, Plate, is_plate
from equinuclei.omezarr.writing import (
    PlateChannel,
    create_image,
    create_label,
    create_plate,
    write_field_table,
    write_pixels,
)


@pytest.fixture
def plate(tmp_path):
    """One well of two channels, 8 x 9 pixels."""
    plate = create_plate(tmp_path / "p", "p", ["B02"])
    image = create_image(plate, "B02", [PlateChannel("DAPI", 455.0), PlateChannel("BF")], (8, 9), "uint8", 0.5)
    write_pixels(image, lambda c, y, x: np.full((8, 9), 7 + c, np.uint8))
    return plate


def test_no_plate_is_there(tmp_path):
    path = tmp_path / "p"
    with pytest.raises(InputError, match="does not exist"):
        Plate(path)
    path.mkdir()
    with pytest.raises(InputError, match="is not an OME-Zarr plate"):
        Plate(path)
    zarr.open_group(path, mode="a")
    assert not is_plate(path)
    with pytest.raises(InputError, match="is not an OME-Zarr plate"):
        Plate(path)


def test_a_well_an_image_or_a_level_that_is_not_there(tmp_path, plate):
    unfinished = create_plate(tmp_path / "q", "q", ["B02"])
    with pytest.raises(InputError, match=r"well B02 has no image: was the plate written whole\?"):
        unfinished.image("B02")
    with pytest.raises(InputError, match="has no well C03"):
        plate.image("C03")
    image = plate.image("B02")
    with pytest.raises(InputError, match="well B02 has no label image 'nuclei'"):
        image.label("nuclei")
    with pytest.raises(InputError, match="has no image of level 1"):
        image.level(1)
    with pytest.raises(InputError, match=f"has no table '{FIELD_TABLE}'"):
        plate.field_table("B02")


def test_what_is_known_of_a_plate_and_its_image(plate):
    opened = Plate(plate.path)
    assert (opened.name, opened.ngff_version, opened.wells, opened.notes) == ("p", "0.5", ["B02"], {})
    image = opened.image("B02")
    assert (image.height, image.width, image.reductions, image.pixel_size) == (8, 9, (1,), 0.5)
    assert image.channels == ["DAPI", "BF"] and image.wavelengths["DAPI"] == 455 and np.isnan(image.wavelengths["BF"])
    assert image.read().tolist() == [[[7] * 9] * 8, [[8] * 9] * 8]
    assert image.read_channel(1).tolist() == [[8] * 9] * 8


def test_a_channel_by_its_name_or_wavelength(plate):
    assert [plate.channel_index(wanted) for wanted in ("bf", "DAPI", 460)] == [1, 0, 0]
    with pytest.raises(InputError, match=r"has the channels 'DAPI' .455 nm., 'BF': set `plates: \{channel: \.\.\.\}`"):
        plate.channel_index(None)
    with pytest.raises(InputError, match="unknown channel"):
        plate.channel_index("GFP")


def test_pixels_that_changed_are_reported(plate):
    image = plate.image("B02")
    image.level(0, mode="r+")[0, 3, 4] = 0
    with pytest.raises(
        InputError, match=r"pixels of well B02 are not those that were written \(the checksum differs\)"
    ):
        image.read()


def test_pixels_whose_files_are_away_are_not_damaged(plate, tmp_path):
    image = plate.image("B02")
    file = next(path for path in (image.path / "0/c").rglob("*") if path.is_file())
    file.rename(tmp_path / "away")
    with pytest.raises(UnavailableError, match=r"well B02 .* not all of their files are there: run again"):
        image.read()
    (tmp_path / "away").rename(file)
    assert image.read().tolist() == [[[7] * 9] * 8, [[8] * 9] * 8]


def test_labels_that_changed_are_reported(plate):
    label = create_label(plate, "B02", "nuclei")
    write_pixels(label, lambda y, x: np.zeros((8, 9), np.uint32))
    assert not plate.image("B02").label("nuclei").read().any()
    label.level(0, mode="r+")[0, 0] = 1
    with pytest.raises(InputError, match="the checksum differs"):
        plate.image("B02").label("nuclei").read()


FIELDS = pd.DataFrame([(2, 0, 4, 8, 5), (1, 0, 0, 8, 4)], columns=["field", "y0", "x0", "height", "width"])


def test_where_fields_lie(plate):
    write_field_table(plate, {"B02": FIELDS})
    assert Plate(plate.path).field_table("B02").to_numpy().tolist() == [[1, 0, 0, 8, 4], [2, 0, 4, 8, 5]]
    with pytest.raises(InputError, match="lacks well B03"):
        Plate(plate.path).field_table("B03")


def test_where_fields_lie_in_a_plate_of_an_earlier_version(plate):
    """Each of its images has a table of regions, in micrometres."""
    rois = [
        Roi.from_values(
            name=str(row.field), slices={"x": (row.x0 / 2, row.width / 2), "y": (row.y0 / 2, row.height / 2)}
        )
        for row in FIELDS.itertuples()
    ]
    container = open_ome_zarr_container(plate.image("B02").path)
    container.add_table(FIELD_TABLE, RoiTable(rois=rois), backend="csv")
    assert Plate(plate.path).field_table("B02").to_numpy().tolist() == [[1, 0, 0, 8, 4], [2, 0, 4, 8, 5]]


def test_a_table_of_fields_that_is_no_text_is_damaged(plate):
    write_field_table(plate, {"B02": FIELDS})
    (table,) = Path(plate.path, "tables", FIELD_TABLE).glob("*.csv")
    table.write_bytes(table.read_bytes().replace(b"B", b"\x80", 1))
    with pytest.raises(InputError, match=f"table '{FIELD_TABLE}'"):
        Plate(plate.path).field_table("B02")


def test_an_image_that_claims_more_than_its_levels_lead_to_is_damaged(plate):
    metadata = Path(plate.image("B02").path, "0/zarr.json")
    claimed = json.loads(metadata.read_text())
    claimed["shape"] = [claimed["shape"][0], 2**24, 64]
    metadata.write_text(json.dumps(claimed))
    with pytest.raises(InputError, match="would have more levels"):
        Plate(plate.path).image("B02").read()
