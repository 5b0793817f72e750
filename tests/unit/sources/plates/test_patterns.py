"""Plates that are recognised by the names of their files."""

import itertools
import re

import numpy as np
import pytest
import tifffile

from equinuclei.errors import InputError
from equinuclei.sources.plates import PROJECTION, contents_of_plate, find_plate_source, layout_of_manifest
from support.plate_checks import check_planes
from support.plate_exports import random_image, write_images

WELLS = {"pattern": r"(?P<well>[A-P]\d+)_s(?P<field>\d+)_w(?P<channel>\d)\.tif"}


class TestConfigured:
    def test_groups(self, tmp_path):
        names = {
            f"{well}_s{field}_w{channel}.tif": (f"{well[0]}0{well[1]}", field, str(channel), 0)
            for well, field, channel in itertools.product(("B2", "C3"), (1, 7), (1, 2))
        }
        pixels = write_images(tmp_path / "deep" / "er", names)
        source = find_plate_source(tmp_path, WELLS)
        assert source.layout == "pattern" and source.name == tmp_path.name
        check_planes(source, pixels)
        assert source.planes[["y", "x", "pixel_size", "wavelength"]].isna().all().all()

    @pytest.mark.parametrize("name", ["{letter}{column:02d}.tif", "r{row:02d}c{column:03d}.tif"])
    def test_row_and_column(self, tmp_path, name):
        wells = {"B03": (2, 3), "AA01": (27, 1)}
        names = {
            name.format(letter=well[:-2], row=row, column=column): (well, 1, "image", 0)
            for well, (row, column) in wells.items()
        }
        pixels = write_images(tmp_path, names)
        check_planes(find_plate_source(tmp_path, {"pattern": r"r?(?P<row>[A-Z]+|\d+)c?(?P<column>\d+)\.tif"}), pixels)

    def test_planes_and_times(self, tmp_path):
        names = {
            f"B02_z{z}_t{t}.png": ("B02", 1, "image", PROJECTION if z == "MIP" else int(z) - 3, t - 5)
            for z, t in itertools.product(("3", "4", "MIP"), (5, 6, 9))
        }
        pixels = write_images(tmp_path, names, dtype="uint8")
        pattern = {"pattern": r"(?P<well>[A-P]\d+)_z(?P<z>\d+|MIP)_t(?P<t>\d+)\.png"}
        check_planes(find_plate_source(tmp_path, pattern), pixels)

    def test_texts_are_numbered_in_their_order(self, tmp_path):
        names = {
            f"B02/{x}/{day}d.tif": ("B02", at, "image", 0, t)
            for (at, x), (t, day) in itertools.product(enumerate(("X0Y0", "X0Y1"), 1), enumerate(("01", "02x")))
        }
        pixels = write_images(tmp_path, names)
        source = find_plate_source(tmp_path, {"pattern": r"(?P<well>\w+)/(?P<field>X\dY\d)/(?P<t>\w+)d\.tif"})
        check_planes(source, pixels)
        assert source.metadata["fields"] == {"X0Y0": 1, "X0Y1": 2}
        assert source.metadata["times"] == {"01": 0, "02x": 1}

    def test_images_that_do_not_match_are_counted(self, tmp_path):
        write_images(tmp_path, {"B02_s1_w1.tif": ("B02", 1, "1", 0), "overview.tif": (), "sub/z.png": ()})
        metadata = find_plate_source(tmp_path, WELLS).metadata
        assert metadata["unknown_images"] == 2 and metadata["unknown_names"] == ["overview.tif", "sub/z.png"]

    def test_two_files_of_one_plane(self, tmp_path):
        write_images(tmp_path, {"one/B02_s1_w1.tif": (), "two/B02_s1_w1.tif": ()})
        with pytest.raises(InputError, match=r"one/B02_s1_w1.tif and two/B02_s1_w1.tif both are well B02, channel '1'"):
            find_plate_source(tmp_path, WELLS)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("B02_s1_w1.TIF", "upper and lower case count"),
            ("B02_s1_w1.jpg", "only images that end in .tif"),
            ("P99_s1_w1.tif", "column 99 is outside"),
            (".B02_s1_w1.tif", "no images"),
        ],
    )
    def test_names_that_are_no_images_of_a_plate(self, tmp_path, name, message):
        if name.endswith("tif"):
            write_images(tmp_path, {name: ()})
        else:
            (tmp_path / name).write_bytes(b"x")
        pattern = {"pattern": WELLS["pattern"].replace("tif", "(?:tif|jpg)")}
        with pytest.raises(InputError, match=message):
            find_plate_source(tmp_path, pattern)

    def test_pages(self, tmp_path):
        stack = np.stack([random_image(1), random_image(2)])
        tifffile.imwrite(tmp_path / "B02_s1_w1.tif", stack, photometric="minisblack")
        with pytest.raises(InputError, match=r"holds 2 pages.* `pages: z`"):
            find_plate_source(tmp_path, WELLS)
        by_z = find_plate_source(tmp_path, WELLS | {"pages": "z"})
        check_planes(by_z, {("B02", 1, "1", 0): stack[0], ("B02", 1, "1", 1): stack[1]})
        by_channel = find_plate_source(tmp_path, WELLS | {"pages": "channel"})
        check_planes(by_channel, {("B02", 1, "1 page 1", 0): stack[0], ("B02", 1, "1 page 2", 0): stack[1]})
        assert find_plate_source(tmp_path, WELLS | {"pages": "t"}).planes["t"].tolist() == [0, 1]

    def test_pages_cannot_be_what_names_tell(self, tmp_path):
        for z in "12":
            stack = np.zeros((2, 4, 5), "uint8")
            tifffile.imwrite(tmp_path / f"B - 02(fld 1 wv DAPI - DAPI z {z}).tif", stack, photometric="minisblack")
        with pytest.raises(InputError, match="the names of files tell several z too"):
            find_plate_source(tmp_path, {"name": "incell", "pages": "z"})

    def test_conversion_finds_the_plate_again(self, tmp_path):
        pixels = write_images(tmp_path, {"B02_s1_w1.tif": ("B02", 1, "1", 0)})
        recorded = contents_of_plate(tmp_path, WELLS).layout
        assert recorded == "pattern"
        check_planes(find_plate_source(tmp_path, layout_of_manifest(recorded, WELLS)), pixels)
        with pytest.raises(InputError, match="the configuration no longer has"):
            layout_of_manifest(recorded, None)
        # A plate that was found before the pattern was configured stays what it was.
        assert layout_of_manifest("harmony", WELLS) == "harmony"
        ready = {"name": "scanr", "pages": "z"}
        assert layout_of_manifest("scanr", ready) == ready and layout_of_manifest("scanr", None) == "scanr"


READY = {
    "incell": {
        "B - 02(fld 1 wv DAPI - DAPI z 1).tif": ("B02", 1, "DAPI", 0),
        "B - 02(fld 1 wv DAPI - DAPI z 2).tif": ("B02", 1, "DAPI", 1),
        "B - 02(fld 1 wv Blue - FITC z 1).tif": ("B02", 1, "Blue - FITC", 0),
    },
    "cytation": {
        "A1_01_1_1_DAPI_001.tif": ("A01", 1, "DAPI", 0),
        "A1_01_1_2_DAPI_001.tif": ("A01", 2, "DAPI", 0),
        "A1_01_2_1_GFP_001.tif": ("A01", 1, "GFP", 0),
    },
    "evos": {
        "scan_R_p0_z0_0_B03f01d0.tif": ("B03", 1, "d0", 0),
        "scan_R_p0_z1_0_B03f01d0.tif": ("B03", 1, "d0", 1),
    },
    "arrayscan": {
        "MFGTMP-PC_1_A01f00d0.TIF": ("A01", 0, "d0", 0),
        "MFGTMP-PC_1_A01f01d1.TIF": ("A01", 1, "d1", 0),
    },
    "incucyte": {
        f"{channel}/VID1234_A1_1_{time}.tif": ("A01", 1, channel, 0, t)
        for channel in ("phase", "red")
        for t, time in enumerate(("2020y01m01d_00h00m", "2020y01m01d_04h00m"))
    },
    "scanr": {
        "A1--W00001--P00001--Z00000--T00000--DAPI.tif": ("A01", 1, "DAPI", 0),
        "A1--W00001--P00002--Z00001--T00000--Alexa 488.tif": ("A01", 2, "Alexa 488", 1),
    },
    "micromanager": {
        "A1-Site_0/img_channel000_position000_time000000000_z000.tif": ("A01", 0, "channel000", 0),
        "A1-Site_1/img_channel001_position001_time000000000_z000.tif": ("A01", 1, "channel001", 0),
    },
}


@pytest.mark.parametrize("layout", READY)
class TestReady:
    def test_is_found_and_read(self, tmp_path, layout):
        pixels = write_images(tmp_path, READY[layout])
        source = find_plate_source(tmp_path)
        assert source.layout == layout
        check_planes(source, pixels)
        for named in (layout, {"name": layout}):
            assert find_plate_source(tmp_path, named).planes.equals(source.planes)

    def test_a_stray_image_is_told(self, tmp_path, layout):
        write_images(tmp_path, READY[layout] | {f"more/{name}": () for name in ()} | {"overview.tif": ()})
        names = len(READY[layout])
        if names < 3:  # more than a third would be strays
            extra = {re.sub(r"(?<![A-Z0-9])([AB])(?=( - )?0?[123])", "C", name, count=1): () for name in READY[layout]}
            write_images(tmp_path, extra)
        source = find_plate_source(tmp_path)
        assert source.layout == layout
        assert source.metadata["unknown_names"] == ["overview.tif"] and source.metadata["unknown_images"] == 1

    def test_too_many_strays(self, tmp_path, layout):
        write_images(tmp_path, READY[layout] | {f"extra{number}.tif": () for number in range(9)})
        with pytest.raises(InputError, match=f"only {len(READY[layout])} of {len(READY[layout]) + 9} images"):
            find_plate_source(tmp_path, layout)
        with pytest.raises(InputError):
            find_plate_source(tmp_path)


def test_one_channel_of_incucyte_needs_no_name(tmp_path):
    pixels = write_images(tmp_path, {"VID1_A1_1_00d00h00m.tif": ("A01", 1, "image", 0)})
    check_planes(find_plate_source(tmp_path), pixels)


def test_computed_images_are_set_aside(tmp_path):
    computed = "A1_-1_1_1_Stitched[DAPI 377,447]_001.tif"
    write_images(tmp_path, READY["cytation"] | {computed: ()})
    source = find_plate_source(tmp_path)
    assert len(source.planes) == 3
    assert [*source.set_aside] == [str(tmp_path / computed)] and "computed" in source.set_aside[
        str(tmp_path / computed)
    ]


def test_images_in_the_instruments_own_format(tmp_path):
    (tmp_path / "P_1_A01f00d0.C01").write_bytes(b"x")
    with pytest.raises(InputError, match="export them as TIFF"):
        find_plate_source(tmp_path)
    write_images(tmp_path, {"P_1_A01f00d0.TIF": ()})
    assert [*find_plate_source(tmp_path).set_aside] == [str(tmp_path / "P_1_A01f00d0.C01")]
