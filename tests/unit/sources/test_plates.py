"""Readers of plates: every layout gives the same table of planes, and every bad input a message."""

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.sources.plates import (
    LAYOUTS,
    PLANE_COLUMNS,
    PROJECTION,
    PlateSource,
    choose_planes,
    contents_of_plate,
    find_plate_source,
    read_plane,
)
from equinuclei.wells import parse_well, well_name
from support.plate_exports import (
    Pixels,
    metaseries,
    random_image,
    write_cellvoyager,
    write_harmony,
    write_metaxpress,
    write_table,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "plates"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real plates are not at {DATA}")


def check_planes(source: PlateSource, pixels: Pixels) -> None:
    """Every plane of the export is listed, and none else; its pixels are those written."""
    planes = source.planes
    assert list(planes.columns) == PLANE_COLUMNS
    assert not planes.duplicated(["well", "field", "channel", "z", "t"]).any()
    keys = list(planes[["well", "field", "channel", "z"]].itertuples(index=False, name=None))
    assert set(keys) == set(pixels)
    assert set(planes["t"]) == {0}
    for key, plane in zip(keys, planes.itertuples(), strict=True):
        image = read_plane(plane.path, plane.page)
        assert image.shape == (plane.height, plane.width)
        np.testing.assert_array_equal(image, pixels[key])


def positions(source: PlateSource) -> dict:
    """Corner (y, x) by field number, of the first well."""
    first = source.planes[source.planes["well"] == source.planes["well"].iloc[0]].drop_duplicates("field")
    return {row.field: (round(row.y, 6), round(row.x, 6)) for row in first.itertuples()}


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


class TestHarmony:
    @pytest.mark.parametrize("version", [5, 6, 7])
    @pytest.mark.parametrize("index", ["Images/Index.xml", "Images/Index.idx.xml", "Index.xml"])
    def test_reads(self, tmp_path, version, index):
        pixels = write_harmony(tmp_path, version, planes=2, index=index)
        for start in {tmp_path, tmp_path / "Images", tmp_path / index}:
            source = find_plate_source(start)
            assert source.layout == "harmony" and source.name == "BAR 1"
            check_planes(source, pixels)
        wavelengths = source.planes.groupby("channel")["wavelength"].first()
        assert wavelengths["DAPI"] == 456 and math.isnan(wavelengths["Brightfield"])
        assert source.planes["well"].unique().tolist() == ["B03", "AA01"]
        assert np.allclose(source.planes["pixel_size"], 0.5)
        assert source.metadata["measurement"] == "m-1" and source.metadata["columns"] == 48
        assert source.metadata["objective"] == "20x NA 0.8"

    def test_stage_points_up(self, tmp_path):
        write_harmony(tmp_path)
        corners = positions(find_plate_source(tmp_path))
        # 20 x 16 pixels of 0.5 micrometres around the centres (0, 0), (10, 0) and (0, -8), which lies below.
        assert corners == {1: (-4.0, -5.0), 2: (-4.0, 5.0), 3: (4.0, -5.0)}

    def test_flat_field(self, tmp_path):
        write_harmony(tmp_path)
        profile = find_plate_source(tmp_path).metadata["flat_field"]
        assert set(profile) == {"DAPI"}
        assert profile["DAPI"]["mean"] == 300.5
        assert profile["DAPI"]["background"] == {
            "type": "Polynomial",
            "coefficients": [[1.25], [0.5, -0.5]],
            "dims": [20, 16],
            "origin": [9.5, 7.5],
            "scale": [0.05, 0.0625],
        }

    def test_names_shared_by_channels(self, tmp_path):
        write_harmony(tmp_path, channels=("DAPI", "DAPI"))
        assert set(find_plate_source(tmp_path).planes["channel"]) == {"DAPI", "DAPI (2)"}

    def test_absent_files_are_listed(self, tmp_path):
        write_harmony(tmp_path)
        for path in (tmp_path / "Images").glob("*.tiff"):
            path.unlink()
        assert len(find_plate_source(tmp_path).planes) == 12

    def edit(self, folder: Path, old: str, new: str) -> None:
        index = folder / "Images" / "Index.xml"
        text = index.read_text("utf-8-sig")
        assert old in text
        index.write_text(text.replace(old, new), encoding="utf-8-sig")

    @pytest.mark.parametrize("name", ["../r.tiff", "/etc/passwd", "a/../../b.tiff", "C:\\data\\r.tiff", "..\\r.tiff"])
    def test_names_that_lead_out(self, tmp_path, name):
        write_harmony(tmp_path)
        self.edit(tmp_path, "r02c03f01p01-ch1sk1fk1fl1.tiff", name)
        with pytest.raises(InputError, match="not in the export's folder"):
            find_plate_source(tmp_path)

    def test_document_type_is_refused(self, tmp_path):
        write_harmony(tmp_path)
        declared = '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
        self.edit(tmp_path, "<EvaluationInputData", f"{declared}<EvaluationInputData")
        with pytest.raises(InputError, match="document type"):
            find_plate_source(tmp_path)

    def test_copy_that_breaks_off(self, tmp_path):
        write_harmony(tmp_path)
        index = tmp_path / "Images" / "Index.xml"
        index.write_bytes(index.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"Index\.xml: cannot be read as XML .* copied whole"):
            find_plate_source(tmp_path)

    def test_other_xml(self, tmp_path):
        (tmp_path / "Index.xml").write_text("<a/>")
        with pytest.raises(InputError, match="not a Harmony index"):
            find_plate_source(tmp_path)

    def test_well_off_the_plate(self, tmp_path):
        write_harmony(tmp_path)
        self.edit(tmp_path, "<Row>27</Row>", "<Row>99</Row>")
        with pytest.raises(InputError, match="row 99"):
            find_plate_source(tmp_path)


class TestMetaXpress:
    def test_reads(self, tmp_path):
        pixels = write_metaxpress(tmp_path)
        source = find_plate_source(tmp_path)
        assert source.layout == "metaxpress" and source.name == "77"
        check_planes(source, pixels)
        # Pixels of 0.5 micrometres, 20 x 16 around centres 9 apart in x and 1 in y, which points down.
        assert positions(source) == {1: (-3.0, 4.0), 2: (-2.0, 13.0)}
        assert source.planes.groupby("channel")["wavelength"].first().to_dict() == {"DAPI": 460.0, "FITC": 520.0}
        assert source.planes["acquired"].iloc[0] == "2024-07-09T13:13:03.006"
        assert source.metadata["absent_planes"] == 0 and source.metadata["measurement"] == "guid-1"

    def test_steps_and_projection(self, tmp_path):
        pixels = write_metaxpress(tmp_path, steps=(0, 1, 2))
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)
        assert set(source.planes["z"]) == {PROJECTION, 0, 1}
        assert set(choose_planes(source)["z"]) == {PROJECTION}
        assert set(choose_planes(source, z="max")["z"]) == {0, 1}
        assert set(choose_planes(source, z=1)["z"]) == {1}

    def test_projection_stands_in_for_an_absent_plane(self, tmp_path):
        write_metaxpress(tmp_path, steps=(0, 1))
        for path in tmp_path.glob("TimePoint_1/ZStep_1/*_w2.TIF"):
            path.unlink()
        chosen = choose_planes(find_plate_source(tmp_path), z=0)
        assert chosen.groupby("channel")["z"].unique().map(list).to_dict() == {"DAPI": [0], "FITC": [PROJECTION]}

    def test_what_was_planned_and_is_not_there(self, tmp_path):
        planned = {"NWavelengths": 3, "WaveName3": '"Cy5"', "WellsSelection1": "TRUE, FALSE"}
        pixels = write_metaxpress(tmp_path, planned=planned)
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)
        assert source.metadata["absent_waves"] == ["Cy5"]
        assert source.metadata["absent_wells"] == ["A01"]
        assert source.metadata["absent_planes"] == 3 * 2 * 3 - 8

    def test_without_htd_and_description(self, tmp_path):
        pixels = write_metaxpress(tmp_path, described=False, htd=False, waves=("w1", "w2"))
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)
        assert source.planes[["y", "x", "pixel_size", "wavelength"]].isna().all().all()

    def test_database_names(self, tmp_path):
        folder = tmp_path / "2023-02-21" / "1334"
        folder.mkdir(parents=True)
        guid = "12345678-90AB-CDEF-0123-456789ABCDEF"
        pixels = {}
        for seed, (site, wave) in enumerate([(1, 1), (1, 12), (2, 1), (2, 12)]):
            pixels["E07", site, f"Dye {400 + wave}", 0] = image = random_image(seed)
            description = metaseries(9 * site, 0, 400 + wave)
            name = f"my_plate_A01_x_E07_s{site}_w{wave}{guid}.tif"
            tifffile.imwrite(folder / name, image, description=description, metadata=None)
            tifffile.imwrite(folder / f"my_plate_A01_x_E07_s{site}_w{wave}_thumb{guid}.tif", image[:4, :4])
        source = find_plate_source(tmp_path)
        assert source.layout == "metaxpress" and source.name == "my_plate_A01_x"
        check_planes(source, pixels)

    def test_two_plates_in_one_folder(self, tmp_path):
        for name in ("one", "two"):
            write_metaxpress(tmp_path / name)
        (tmp_path / "x.HTD").write_text('"HTSInfoFile", Version 1.0\n')
        with pytest.raises(InputError, match="give the folder of one plate"):
            find_plate_source(tmp_path)

    def test_unreadable_header_is_no_end(self, tmp_path):
        write_metaxpress(tmp_path)
        for path in tmp_path.rglob("77_C11_s2_w*.TIF"):
            path.write_bytes(b"")
        source = find_plate_source(tmp_path)
        bad = source.planes[(source.planes["well"] == "C11") & (source.planes["field"] == 2)]
        # The offset from the well's centre is known from the other well.
        assert bad[["y", "x", "height", "width"]].drop_duplicates().to_numpy().tolist() == [[-2.0, 13.0, 16, 20]]

    def test_htd_that_is_none(self, tmp_path):
        write_metaxpress(tmp_path)
        (tmp_path / "77.HTD").write_text("hello")
        with pytest.raises(InputError, match="HTSInfoFile"):
            find_plate_source(tmp_path)


class TestCellVoyager:
    @pytest.mark.parametrize("settings", [True, False])
    def test_reads(self, tmp_path, settings):
        pixels = write_cellvoyager(tmp_path, settings=settings)
        source = find_plate_source(tmp_path)
        assert source.layout == "cellvoyager"
        check_planes(source, pixels)
        assert source.metadata["failed_records"] == 1
        if settings:
            assert source.name == "CV plate"
            assert positions(source) == {1: (4.0, -2.0), 2: (12.0, -2.0)}
            assert source.planes.groupby("channel")["wavelength"].first().to_dict() == {"BP445/45": 445, "Dye": 525}

    def test_stacks_are_projected_or_chosen(self, tmp_path):
        write_cellvoyager(tmp_path, planes=3)
        source = find_plate_source(tmp_path)
        assert len(choose_planes(source)) == len(source.planes) == 24
        assert len(choose_planes(source, "dye", z=2)) == 4
        with pytest.raises(InputError, match="no plane z 3; it has 0 to 2"):
            choose_planes(source, z=3)


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
