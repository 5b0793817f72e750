"""Readers of plates: every layout gives the same table of planes, and every bad input a message."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.omezarr.metadata import NGFF_VERSIONS
from equinuclei.omezarr.writing import PlateChannel, create_image, create_plate, write_pixels
from equinuclei.sources.plates import (
    LAYOUTS,
    choose_planes,
    contents_of_plate,
    find_plate_source,
    read_plane,
)
from equinuclei.wells import parse_well, well_name
from support.plate_checks import DATA, check_planes, needs_data, positions
from support.plate_exports import (
    random_image,
    write_cellvoyager,
    write_harmony,
    write_metaxpress,
    write_table,
)


class TestWells:
    def test_names(self):
        assert well_name(2, 2) == "B02"
        assert well_name(27, 1) == "AA01"
        assert well_name(32, 48) == "AF48"

    @given(st.integers(1, 32), st.integers(1, 48))
    def test_round_trip(self, row, column):
        assert parse_well(well_name(row, column)) == (row, column)

    @pytest.mark.parametrize("text", ["b2", "B2", " B02", "B 02"])
    def test_spellings(self, text):
        assert parse_well(text) == (2, 2)

    @pytest.mark.parametrize("text", ["", "2B", "B", "B00", "B49", "AG01", "ZZ01", "../B02", "B02/.."])
    def test_no_wells(self, text):
        with pytest.raises(ValueError):
            parse_well(text)


class TestOmeZarr:
    @pytest.mark.parametrize("version", NGFF_VERSIONS)
    def test_reads(self, tmp_path, version):
        pixels = {}
        path = tmp_path / "p.zarr"
        plate = create_plate(path, "my plate", ["B02", "AF48"], version)
        for well in ("B02", "AF48"):
            image = np.stack([random_image(1), random_image(2)])
            channels = [PlateChannel("DAPI", 450.0), PlateChannel("BF")]
            stored = create_image(plate, well, channels, (16, 20), "uint16", 0.5)
            write_pixels(stored, lambda c, y, x, image=image: image[c, y, x])
            pixels |= {(well, 1, "DAPI", 0): image[0], (well, 1, "BF", 0): image[1]}
        source = find_plate_source(path)
        assert source.layout == "ome-zarr" and source.name == "my plate"
        check_planes(source, pixels)
        assert set(source.planes["pixel_size"]) == {0.5}
        assert set(source.planes["y"]) == {0.0}

    def test_damaged(self, tmp_path):
        (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
        (tmp_path / ".zattrs").write_text('{"plate": {"wells": [{"path": "../B/02"}]}}')
        with pytest.raises(InputError, match="metadata cannot be used"):
            find_plate_source(tmp_path)


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
    def test_reads(self, tmp_path):
        images = {name: random_image(seed, (8 + seed, 9)) for seed, name in enumerate(["b $(x)", "a'1", "c"])}
        for name, image in images.items():
            tifffile.imwrite(tmp_path / f"{name}.tif", image)
        (tmp_path / "notes.txt").touch()
        source = find_plate_source(tmp_path)
        assert source.layout == "folder"
        check_planes(source, {("A01", n, "image", 0): images[k] for n, k in enumerate(sorted(images), 1)})
        assert source.metadata["stems"] == {"1": "a'1", "2": "b $(x)", "3": "c"}

    def test_stack(self, tmp_path):
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((3, 4, 5), "uint8"), photometric="minisblack")
        with pytest.raises(InputError, match="holds 3 pages"):
            find_plate_source(tmp_path)


class TestFind:
    def test_nothing_fits(self, tmp_path):
        with pytest.raises(InputError) as caught:
            find_plate_source(tmp_path)
        assert all(f"- {layout}: " in str(caught.value) for layout in LAYOUTS)

    def test_missing(self, tmp_path):
        (tmp_path / "plate_1").mkdir()
        with pytest.raises(InputError, match="did you mean 'plate_1'"):
            find_plate_source(tmp_path / "plate1")

    def test_unknown_layout(self, tmp_path):
        with pytest.raises(InputError, match="Did you mean 'harmony'"):
            find_plate_source(tmp_path, "harmon")

    def test_layout_that_does_not_fit(self, tmp_path):
        write_cellvoyager(tmp_path)
        for layout in set(LAYOUTS) - {"cellvoyager", "folder", "table"}:
            with pytest.raises(InputError, match="looked for"):
                find_plate_source(tmp_path, layout)

    @pytest.mark.parametrize("layout", ["metaxpress", "folder"])
    def test_layout_named(self, tmp_path, layout):
        write_metaxpress(tmp_path)
        folder = tmp_path / "TimePoint_1"
        assert find_plate_source(folder, layout).layout == layout


class TestChoose:
    @pytest.fixture
    def source(self, tmp_path):
        write_harmony(tmp_path, channels=("HOECHST 33342", "Alexa 488", "Brightfield"), planes=2)
        return find_plate_source(tmp_path)

    @pytest.mark.parametrize("wanted", ["HOECHST 33342", "hoechst 33342", 456, 470.0])
    def test_channel(self, source, wanted):
        assert set(choose_planes(source, wanted)["channel"]) == {"HOECHST 33342"}

    def test_order_of_channels(self, source):
        chosen = choose_planes(source, ["Brightfield", 456], z=0)
        assert chosen["channel"].tolist()[:4] == ["Brightfield", "HOECHST 33342"] * 2
        assert chosen["well"].unique().tolist() == ["B03", "AA01"]

    def test_absent_channel(self, source):
        with pytest.raises(InputError, match=r"'HOECHST 3334'\. Did you mean 'HOECHST 33342'\? Known"):
            choose_planes(source, "HOECHST 3334")

    def test_absent_wavelength(self, source):
        with pytest.raises(InputError, match="no channel that emits at 700 nm"):
            choose_planes(source, 700)

    @pytest.mark.parametrize("z", ["median", 1.5, True])
    def test_unknown_z(self, source, z):
        with pytest.raises(InputError, match="neither a plane"):
            choose_planes(source, z=z)

    def test_absent_time(self, source):
        with pytest.raises(InputError, match="no time point 3"):
            choose_planes(source, t=3)


@needs_data
class TestRealExports:
    @pytest.mark.parametrize(
        ("folder", "layout", "wells", "fields", "channels", "planes"),
        [
            ("harmony_phenix_BR00121482", "harmony", ["A01"], 1, 6, 6),
            ("harmony_v7_index_only", "harmony", ["A01"], 1, 7, 7),
            ("harmony_sonata_BALL", "harmony", ["C03"], 2, 1, 2),
            ("metaxpress_export/9987_Plate_3434", "metaxpress", ["B02", "B03"], 2, 3, 36),
            ("metaxpress_export/9987_Plate_3420", "metaxpress", ["B02"], 1, 1, 1),
            ("imagexpress_database/Projection-Mix", "metaxpress", ["E07"], 2, 3, 6),
            (
                "cellvoyager_cv8000/CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack",
                "cellvoyager",
                ["D08", "E03", "F08"],
                4,
                2,
                96,
            ),
            ("ome_zarr_hcs/plate_ones.zarr", "ome-zarr", ["B03"], 1, 2, 6),
            ("ome_zarr_hcs/plate_ones_mip.zarr", "ome-zarr", ["B03"], 1, 2, 2),
        ],
    )
    def test_tables(self, folder, layout, wells, fields, channels, planes):
        source = find_plate_source(DATA / folder)
        table = source.planes
        assert (source.layout, len(table)) == (layout, planes)
        assert table["well"].unique().tolist() == wells
        assert (table["field"].nunique(), table["channel"].nunique()) == (fields, channels)
        assert (table["pixel_size"] > 0.1).all() and table[["y", "x"]].notna().all().all()
        if folder != "harmony_v7_index_only":
            for plane in table.itertuples():
                assert read_plane(plane.path, plane.page).shape == (plane.height, plane.width)

    def test_channel_numbers_are_no_dyes(self):
        source = find_plate_source(DATA / "harmony_phenix_BR00121482")
        (path,) = choose_planes(source, "hoechst 33342")["path"]
        assert path.endswith("-ch5sk1fk1fl1.tiff")
        (path,) = choose_planes(find_plate_source(DATA / "harmony_v7_index_only"), "HOECHST 33342")["path"]
        assert path.endswith("-ch6sk1fk1fl1.tiff")

    def test_metaxpress_absentees(self):
        metadata = find_plate_source(DATA / "metaxpress_export" / "9987_Plate_3434").metadata
        assert metadata["absent_waves"] == ["Cy5"] and metadata["absent_z_steps"] == [3]

    def test_neighbours_overlap_where_their_positions_say(self):
        """The right edge of site 1 and the left edge of site 2 show the same cells."""
        source = find_plate_source(DATA / "metaxpress_export" / "9987_Plate_3434")
        planes = choose_planes(source, "DAPI").query("well == 'B03'").set_index("field")
        step = round((planes.at[2, "x"] - planes.at[1, "x"]) / planes.at[1, "pixel_size"])
        left, right = (read_plane(planes.at[field, "path"]).astype(float) for field in (1, 2))
        overlap = [np.corrcoef(left[:, at:].ravel(), right[:, : 256 - at].ravel())[0, 1] for at in range(200, 250)]
        assert abs(200 + int(np.argmax(overlap)) - step) <= 2 and max(overlap) > 0.9


def test_a_layout_that_is_set_is_the_only_one_tried(tmp_path):
    write_table(tmp_path)
    (tmp_path / "plate.tsv").rename(tmp_path / "planes.tsv")
    assert contents_of_plate(tmp_path).layout == "table"
    assert contents_of_plate(tmp_path, "folder").layout == "folder"
    with pytest.raises(InputError, match="no Harmony export"):
        contents_of_plate(tmp_path, "harmony")
