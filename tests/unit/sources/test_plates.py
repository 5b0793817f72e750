"""Readers of plates: every layout gives the same table of planes, and every bad input a message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.sources.plates import (
    LAYOUTS,
    choose_planes,
    contents_of_plate,
    find_plate_source,
    read_plane,
)
from equinuclei.wells import parse_well, well_name
from support.plate_checks import DATA, needs_data
from support.plate_exports import (
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
