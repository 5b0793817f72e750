"""Plates written: other programs' models accept them, and every pixel, label and level is what was given."""

import numpy as np
import pytest

from equinuclei.errors import InputError
from equinuclei.omezarr.blocks import SMALLEST_LEVEL_OF_MAPS
from equinuclei.omezarr.metadata import NGFF_VERSIONS
from equinuclei.omezarr.plates import Plate
from equinuclei.omezarr.writing import PlateChannel, create_image, create_label, create_plate, link_well, write_pixels
from support.omezarr import check_valid


@pytest.mark.parametrize("version", NGFF_VERSIONS)
def test_probabilities_and_labels(tmp_path, version):
    """A second plate, as a segmentation is: uint8 images, and labels inside."""
    path = tmp_path / "segmentation.ome.zarr"
    plate = create_plate(path, "p", ["AA03", "B02"], version, {"magnification": 1.5})
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (1, 701, 1130)).astype(np.uint8)
    labels = rng.integers(0, 2**31, (701, 1130)).astype(np.uint32)
    for well, pixel_size in (("B02", 0.65), ("AA03", None)):
        channels = [PlateChannel("nucleus", colour="FF8800")]
        write_pixels(
            create_image(plate, well, channels, (701, 1130), "uint8", pixel_size), lambda c, y, x: image[c, y, x]
        )
        write_pixels(create_label(plate, well, "nuclei"), lambda y, x: labels[y, x])
        written = Plate(path).image(well)
        np.testing.assert_array_equal(written.level(0)[:], image)
        np.testing.assert_array_equal(written.label("nuclei").level(0)[:], labels)
        np.testing.assert_array_equal(written.label("nuclei").level(1)[:], labels[:700:4, :1128:4])
        assert written.pixel_size == pixel_size
    assert Plate(path).wells == ["B02", "AA03"] and Plate(path).notes == {"magnification": 1.5}
    check_valid(path, ("nuclei",))


def test_what_cannot_be_made(tmp_path):
    with pytest.raises(ValueError, match="without wells"):
        create_plate(tmp_path / "p", "p", [])
    plate = create_plate(tmp_path / "p", "p", ["B02"])
    with pytest.raises(InputError, match="has no well C03"):
        create_image(plate, "C03", [PlateChannel("a")], (8, 8), "uint8")
    with pytest.raises(ValueError, match=r"shape \(0, 8, 8\) is empty"):
        create_image(plate, "B02", [], (8, 8), "uint8")
    with pytest.raises(InputError, match="has no image"):
        create_label(plate, "B02", "nuclei")
    with pytest.raises(ValueError, match="label"):
        create_label(plate, "B02", "../x")


def test_wrong_pixels(tmp_path):
    plate = create_plate(tmp_path / "p", "p", ["B02"])
    image = create_image(plate, "B02", [PlateChannel("a")], (8, 8), "uint8")
    with pytest.raises(ValueError, match="expected uint8"):
        write_pixels(image, lambda c, y, x: np.zeros((8, 8), np.uint16))


def test_a_linked_well_is_that_of_the_source(tmp_path):
    source, target = (create_plate(tmp_path / name, name, ["B02"]) for name in ("source", "target"))
    image = create_image(source, "B02", [PlateChannel("a")], (8, 8), "uint8")
    write_pixels(image, lambda c, y, x: np.full((8, 8), 3, np.uint8))
    link_well(source, target, "B02")
    assert (target.image("B02").read() == 3).all()


def test_a_plate_of_384_wells_of_nine_fields_takes_fewer_than_6000_files(tmp_path):
    """One of its wells stands for all. Its pixels are not zero, as arrays of zeros take no file."""
    edge = 3 * 1080
    plate, segmentation = (create_plate(tmp_path / name, name, ["B02"]) for name in ("plate", "segmentation"))
    image = create_image(plate, "B02", [PlateChannel(name) for name in "ab"], (edge, edge), "uint8")
    write_pixels(image, lambda _, y, x: np.ones((y.stop - y.start, x.stop - x.start), np.uint8))
    maps = create_image(
        segmentation, "B02", [PlateChannel("p")], (edge, edge), "uint8", smallest_level=SMALLEST_LEVEL_OF_MAPS
    )
    write_pixels(maps, lambda _, y, x: np.ones((y.stop - y.start, x.stop - x.start), np.uint8))
    nuclei = create_label(segmentation, "B02", "nuclei")
    write_pixels(nuclei, lambda y, x: np.ones((y.stop - y.start, x.stop - x.start), np.uint32))
    files = sum(path.is_file() for path in tmp_path.glob("*/B/02/**/*"))
    # 16 rows and the plate have metadata of their own, in both; beside them are a table of three files and ten more.
    assert files == 14 and 384 * files + 2 * 17 + 3 + 10 < 6000
