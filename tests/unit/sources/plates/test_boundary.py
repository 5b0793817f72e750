"""A plate names its own files: links and tables that lead elsewhere are refused."""

import numpy as np
import pytest
import tifffile

from equinuclei.errors import InputError
from equinuclei.sources.plates import find_plate_source, read_plane
from support.plate_exports import write_harmony, write_images, write_table
from support.zarr_plates import random_pixels, write_zarr_plate


@pytest.fixture
def inbox(tmp_path):
    """An inbox, and beside it what others own."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "others").mkdir()
    tifffile.imwrite(tmp_path / "others/secret.tif", np.ones((16, 20), np.uint16))
    return tmp_path / "inbox"


def test_a_link_to_an_image_of_others(inbox):
    write_harmony(inbox / "P")
    image = next((inbox / "P/Images").glob("*.tiff"))
    image.unlink()
    image.symlink_to(inbox.parent / "others/secret.tif")
    with pytest.raises(InputError, match=r"names files outside .*inbox/.*make that folder a link(?s:.*)secret\.tif"):
        find_plate_source(inbox / "P")


def test_a_linked_folder_of_images(inbox):
    write_harmony(inbox.parent / "others/P")
    (inbox / "P").mkdir()
    (inbox / "P/Images").symlink_to(inbox.parent / "others/P/Images")
    with pytest.raises(InputError, match="names files outside"):
        find_plate_source(inbox / "P")


def test_a_plate_that_is_a_link_itself(inbox):
    pixels = write_harmony(inbox.parent / "others/P")
    (inbox / "P").symlink_to(inbox.parent / "others/P")
    planes = find_plate_source(inbox / "P").planes
    assert len(planes) == len(pixels) and read_plane(planes["path"][0]).shape == (16, 20)


def test_links_within_the_inbox(inbox):
    write_images(inbox / "P", {"P_B02_s1_w1.tif": (), "P_B03_s1_w1.tif": ()})
    (inbox / "P/P_B04_s1_w1.tif").symlink_to("P_B03_s1_w1.tif")
    (inbox / "Q").mkdir()
    (inbox / "Q/P_B05_s1_w1.tif").symlink_to("../P/P_B02_s1_w1.tif")
    assert len(find_plate_source(inbox / "P").planes) == 3 and len(find_plate_source(inbox / "Q").planes) == 1


@pytest.mark.parametrize("name", ["../../others/secret.tif", "/etc/hostname", "sub/../../../others/secret.tif"])
def test_a_table_that_names_files_elsewhere(inbox, name):
    write_table(inbox / "P")
    table = inbox / "P/plate.tsv"
    table.write_text(table.read_text().replace("b.tif", name))
    with pytest.raises(InputError, match="names files outside"):
        find_plate_source(table)


@pytest.mark.parametrize("linked", ["B/02/0/0", "B/02/0", "B/02/0/0/0/0/0"])
def test_a_zarr_plate_with_a_link(inbox, linked):
    images = {"B/02": [{"name": "0", "pixels": random_pixels(1), "corner": (0.0, 0.0)}]}
    write_zarr_plate(inbox / "P.zarr", images)
    target = inbox.parent / "others" / "x"
    (inbox / "P.zarr" / linked).rename(target)
    (inbox / "P.zarr" / linked).symlink_to(target)
    with pytest.raises(InputError, match="names files outside"):
        find_plate_source(inbox / "P.zarr")


@pytest.mark.parametrize(
    "name", ["../x.tif", "/x.tif", "C:\\x.tif", "\\\\server\\x.tif", "a/../../x.tif", "n\x07.tif", "x" * 300 + ".tif"]
)
def test_an_index_that_names_what_is_no_file_of_an_export(inbox, name):
    write_harmony(inbox / "P", centres=((0.0, 0.0),), channels=("DAPI",))
    index = inbox / "P/Images/Index.xml"
    text = index.read_text(encoding="utf-8-sig")
    index.write_text(text.replace("r02c03f01p01-ch1sk1fk1fl1.tiff", name), encoding="utf-8")
    with pytest.raises(InputError):
        find_plate_source(inbox / "P")
