"""The index of an IN Cell Analyzer."""

import itertools

import pytest

from equinuclei.errors import InputError
from equinuclei.sources.plates import find_plate_source
from support.plate_checks import check_planes, positions
from support.plate_exports import write_incell


def test_reads(tmp_path):
    pixels = write_incell(tmp_path)
    for start in (tmp_path, tmp_path / "plate.xdce"):
        source = find_plate_source(start)
        assert source.layout == "incell" and source.name == "plate"
        check_planes(source, pixels)
    # 20 x 16 pixels of 0.5 micrometres around (0, 0) and (9, 8), with y pointing up.
    assert positions(source) == {1: (-4.0, -5.0), 2: (-12.0, 4.0)}
    assert source.planes.groupby("channel")["wavelength"].first().to_dict() == {"DAPI": 455.0, "Blue - FITC": 525.0}
    assert set(source.planes["pixel_size"]) == {0.5}
    assert (source.metadata["rows"], source.metadata["columns"]) == (8, 12)
    assert source.metadata["started"] == "2024-06-14T12:13:14"


def test_planes_and_times(tmp_path):
    pixels = write_incell(tmp_path, planes=2, times=2)
    check_planes(find_plate_source(tmp_path), pixels)


def test_absent_images_are_listed(tmp_path):
    pixels = write_incell(tmp_path)
    for path in itertools.islice(sorted(tmp_path.glob("*.tif")), 3):
        path.unlink()
    assert len(find_plate_source(tmp_path).planes) == len(pixels)


def test_index_that_lists_nothing(tmp_path):
    pixels = write_incell(tmp_path)
    (tmp_path / "plate.xdce").write_text(
        '<ImageStack><ObjectiveCalibration pixel_width="0.65" pixel_height="0.65"/></ImageStack>'
    )
    source = find_plate_source(tmp_path)
    assert source.layout == "incell" and set(source.planes["pixel_size"]) == {0.65}
    check_planes(source, pixels)


def test_names_that_no_pattern_knows(tmp_path):
    pixels = write_incell(tmp_path, name="image_{number}.tif")
    check_planes(find_plate_source(tmp_path), pixels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('<Row number="2"', '<Row number="99"', "row 99"),
        ('field_index="1"', 'field_index="one"', "'one' is not a whole number"),
        ("B - 03(fld 2 wv Blue - FITC).tif", "../B - 03.tif", "not in the export's folder"),
        ('field_index="1"', 'field_index="0"', "stands for 2 images"),
        ("</ImageStack>", "", "cannot be read"),
    ],
)
def test_damaged_index(tmp_path, old, new, message):
    write_incell(tmp_path)
    index = tmp_path / "plate.xdce"
    text = index.read_text()
    assert old in text
    index.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        find_plate_source(tmp_path)


def test_two_indexes(tmp_path):
    write_incell(tmp_path)
    (tmp_path / "other.xdce").write_text("<ImageStack/>")
    with pytest.raises(InputError, match=r"2 \.xdce files"):
        find_plate_source(tmp_path)
