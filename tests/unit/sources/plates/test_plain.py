"""Tables of planes, and folders of images."""

import numpy as np
import pytest
import tifffile

from equinuclei.errors import InputError
from equinuclei.file_names import compile_pattern
from equinuclei.sources.plates import find_plate_source
from equinuclei.sources.plates.name_tokens import channels_in, pattern_like, wells_in
from support.plate_checks import check_planes, positions
from support.plate_exports import random_image, write_images, write_table


class TestTable:
    def test_reads(self, tmp_path):
        names = ("a b.tif", "it's.tif", "x;y.tif", "$(touch z).tif", "Zürich µm.tif", '"q".tif')
        rows = write_table(tmp_path, names[:-1], positions=True)
        source = find_plate_source(tmp_path / "plate.tsv")
        assert source.layout == "table" and source.name == "plate"
        check_planes(source, rows)
        assert positions(source)[2] == (8.0, 5.0)

    def test_pages(self, tmp_path):
        stack = np.stack([random_image(1), random_image(2)])
        tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
        table = tmp_path / "plate.tsv"
        table.write_text("well\tfield\tchannel\tpath\tpage\nA1\t1\tDAPI\ts.tif\t0\nA1\t1\tFITC\ts.tif\t1\n")
        check_planes(find_plate_source(table), {("A01", 1, "DAPI", 0): stack[0], ("A01", 1, "FITC", 0): stack[1]})
        table.write_text("well\tfield\tchannel\tpath\nA1\t1\tDAPI\ts.tif\n")
        with pytest.raises(InputError, match="holds 2 pages"):
            find_plate_source(table)

    def test_problems_are_told_together(self, tmp_path):
        write_table(tmp_path)
        lines = ["well\tfield\tchannel\tpath\tpixel_size", "Q99\t1\tDAPI\ta.tif\t0.5", "A1\tone\tDAPI\ta.tif\t0.5"]
        lines += ["A1\t1\t\ta.tif\t0.5", "A1\t1\tDAPI\ta.tif\t-1"]
        (tmp_path / "plate.tsv").write_text("\n".join(lines))
        with pytest.raises(InputError, match="4 problems") as caught:
            find_plate_source(tmp_path / "plate.tsv")
        for text in ("Q99", "field 'one'", "channel is empty", "pixel_size '-1'"):
            assert text in str(caught.value)

    def test_one_image_twice(self, tmp_path):
        write_table(tmp_path)
        (tmp_path / "plate.tsv").write_text("well\tfield\tchannel\tpath\nA1\t1\tD\ta.tif\nA01\t1\tD\tb.tif\n")
        with pytest.raises(InputError, match="stands for 2 images"):
            find_plate_source(tmp_path / "plate.tsv")


class TestFolder:
    def test_every_image_is_a_well(self, tmp_path):
        images = {name: random_image(seed, (8 + seed, 9)) for seed, name in enumerate(["b $(x)", "a'1", "c"])}
        for name, image in images.items():
            tifffile.imwrite(tmp_path / f"{name}.tif", image)
        (tmp_path / "notes.txt").touch()
        source = find_plate_source(tmp_path)
        assert source.layout == "folder"
        check_planes(source, {(f"A0{n}", 1, "image", 0): images[k] for n, k in enumerate(sorted(images), 1)})
        assert source.metadata["stems"] == {"A01": {"1": "a'1"}, "A02": {"1": "b $(x)"}, "A03": {"1": "c"}}
        assert (source.metadata["rows"], source.metadata["columns"]) == (8, 12)

    @pytest.mark.parametrize(("count", "shape", "last"), [(96, (8, 12), "H12"), (97, (16, 24), "E01")])
    def test_plate_large_enough(self, tmp_path, count, shape, last):
        write_images(tmp_path, {f"{number:04d}.png": () for number in range(count)}, dtype="uint8")
        source = find_plate_source(tmp_path)
        assert source.planes["well"].nunique() == count and source.planes["well"].iloc[-1] == last
        assert (source.metadata["rows"], source.metadata["columns"]) == shape

    def test_more_images_than_wells(self, tmp_path):
        for number in range(1537):
            (tmp_path / f"{number:04d}.png").touch()
        with pytest.raises(InputError, match="1537 images, and a plate has 1536 wells at most: put them into several"):
            find_plate_source(tmp_path)

    def test_names_with_wells(self, tmp_path):
        names = {"x_C04_b.tif": ("C04", 2), "x_C04_a.tif": ("C04", 1), "Q17 B2.tif": ("B02", 1)}
        pixels = write_images(tmp_path, {name: (*key, "image", 0) for name, key in names.items()})
        with pytest.raises(InputError, match=r"looks like wells \(B02, C04\)"):
            find_plate_source(tmp_path)
        source = find_plate_source(tmp_path, "folder")
        check_planes(source, pixels)
        assert source.metadata["stems"]["C04"] == {"1": "x_C04_a", "2": "x_C04_b"}

    def test_stack(self, tmp_path):
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((3, 4, 5), "uint8"), photometric="minisblack")
        with pytest.raises(InputError, match="holds 3 pages"):
            find_plate_source(tmp_path)


class TestWhatMayBeAPlate:
    @pytest.mark.parametrize(
        ("names", "beside", "seen"),
        [
            (["a.tif", "b.tif"], "Experiment.xml", "Experiment.xml beside them looks like the index"),
            (["a.tif", "b.tif"], "metadata.txt", "metadata.txt beside them"),
            (["a.tif", "b.tif"], "plate.wpi", "plate.wpi beside them"),
            (["a.tif", "b.tif"], "plate.jdce", "plate.jdce beside them"),
            (["x_B02_1.tif", "x_B03_1.tif"], "", r"wells \(B02, B03\)"),
            (["r02c03f01p01-ch1.tiff"], "", r"wells \(B03\)"),
            (["cells_w1.tif", "cells_w2.tif"], "", r"channels \(w1, w2\)"),
            (["cells_DAPI.tif", "cells-Hoechst 33342.tif"], "", r"channels \(Hoechst 33342, DAPI\)"),
            (["B - 02(fld 1 wv DAPI - DAPI).tif", "a.tif", "b.tif"], "", "1 of 3 are named as incell names them"),
            (["a.tif", "sub/b.tif"], "", "1 images lie in its subfolders"),
        ],
    )
    def test_is_asked_for(self, tmp_path, names, beside, seen):
        write_images(tmp_path, dict.fromkeys(names, ()))
        if beside:
            (tmp_path / beside).touch()
        with pytest.raises(InputError, match=seen) as caught:
            find_plate_source(tmp_path)
        assert "layout: folder" in str(caught.value) and "docs/plates.md" in str(caught.value)
        assert find_plate_source(tmp_path, "folder").layout == "folder"

    @pytest.mark.parametrize(
        "names",
        [
            ["00_base16.tif", "13_imagej_hyperstack.tif"],
            ["A549_001.tif", "HeLa_002.tif"],
            ["0a7d30b252359a10fd298b638b90cb9ada3acced4e0c0e5a3692013f432ee4e9.png"],
            ["slide 7 (copy).tif", "img-2024-05-12.tif", "patient12.tif"],
        ],
    )
    def test_single_images(self, tmp_path, names):
        write_images(tmp_path, dict.fromkeys(names, ()), dtype="uint8")
        assert find_plate_source(tmp_path).layout == "folder"

    def test_the_proposed_pattern_reads_the_plate(self, tmp_path):
        names = {
            f"my plate_{well}_s{field}_w{wave}.tif": (well, field, str(wave), 0)
            for well in ("B02", "C11")
            for field in (1, 2)
            for wave in (1, 2)
        }
        pixels = write_images(tmp_path, names)
        # Not a name of ImageXpress: its plate and well are joined by a blank.
        for path in tmp_path.iterdir():
            path.rename(tmp_path / path.name.replace("plate_", "plate "))
        with pytest.raises(InputError) as caught:
            find_plate_source(tmp_path)
        proposed = str(caught.value).split("{pattern: '")[1].split("'}")[0]
        check_planes(find_plate_source(tmp_path, {"pattern": proposed}), pixels)


@pytest.mark.parametrize(
    ("name", "wells", "channels"),
    [
        ("plate_B02_s1_w1.TIF", ["B02"], ["w1"]),
        ("r02c03f01p01-ch1sk1fk1fl1.tiff", ["B03"], []),
        ("B - 02(fld 1 wv DAPI - DAPI).tif", ["B02"], ["DAPI", "DAPI"]),
        ("A549_001.tif", [], []),
        ("x_A488_AF12.tif", ["AF12"], ["A488"]),
        ("b02_c01.tif", ["B02", "C01"], ["c01"]),
        ("img_2.0.tif", [], []),
    ],
)
def test_what_names_seem_to_hold(name, wells, channels):
    assert (wells_in(name), channels_in(name)) == (wells, channels)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("p_B02_s1_w2_z3_t4.tif", {"well": "B02", "field": "1", "channel": "2", "z": "3", "t": "4"}),
        ("exp (7) C3 site 12 DAPI.png", {"well": "C3", "field": "12", "channel": "DAPI"}),
        ("B02_w1_[00000009-1B2C-4D5E-8F90-123456789ABC].tif", {"well": "B02", "channel": "1"}),
    ],
)
def test_pattern_like_a_name(name, groups):
    found = compile_pattern(pattern_like(name)).fullmatch(name)
    assert found is not None and found.groupdict() == groups


def test_no_pattern_without_a_well():
    assert pattern_like("cells_DAPI.tif") == ""
