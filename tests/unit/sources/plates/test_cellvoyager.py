"""CellVoyager's measurements: which records are the same plane, which count, and which failed."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.sources.plates import PROJECTION, choose_planes, find_plate_source
from equinuclei.sources.plates.planes import NO_FILE
from support.plate_checks import CASES, check_planes, needs_cases, positions
from support.plate_exports import write_cellvoyager, write_records


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

    def test_correction_images_are_set_aside(self, tmp_path):
        write_cellvoyager(tmp_path)
        reasons = {Path(path).name: reason for path, reason in find_plate_source(tmp_path).set_aside.items()}
        assert reasons["DC_DCAM#1_CAM3.tif"] == "correction image of the camera"
        assert reasons["SC_BP445-45_20x v2_M01_CH01.tif"] == "correction image of the shading"
        assert len(reasons) == 2

    def test_case_and_compressed_files(self, tmp_path):
        pixels = write_cellvoyager(tmp_path)
        (tmp_path / "MeasurementData.mlf").rename(tmp_path / "measurementdata.MLF")
        check_planes(find_plate_source(tmp_path), pixels)
        for path in tmp_path.glob("p_*.tif"):
            path.rename(path.with_suffix(".png"))
        assert all(path.endswith(".png") for path in find_plate_source(tmp_path).planes["path"])


class TestTimes:
    def test_timelines_of_the_same_field_follow_each_other(self, tmp_path):
        keys = [(1, 1), (1, 3), (2, 4), (2, 5)]
        images = write_records(tmp_path, [{"TimelineIndex": str(line), "TimePoint": str(t)} for line, t in keys])
        source = find_plate_source(tmp_path)
        check_planes(source, {("A01", 1, "C01", 0, t): image for t, image in enumerate(images)})
        assert source.metadata["times"] == [f"timeline {line}, time {t}" for line, t in keys]

    def test_timelines_of_different_wells_run_side_by_side(self, tmp_path):
        keys = [(1, 1), (1, 2), (2, 3), (2, 4)]
        records = [{"TimelineIndex": str(n), "Column": str(n), "TimePoint": str(t)} for n, t in keys]
        images = write_records(tmp_path, records)
        source = find_plate_source(tmp_path)
        wells = [("A01", 0), ("A01", 1), ("A02", 0), ("A02", 1)]
        check_planes(source, {(w, 1, "C01", 0, t): image for (w, t), image in zip(wells, images, strict=True)})
        assert source.metadata["times"][1] == "timeline 1, time 2 / timeline 2, time 4"

    def test_one_timeline_keeps_its_numbers(self, tmp_path):
        write_records(tmp_path, [{"TimePoint": "1"}, {"TimePoint": "3"}])
        source = find_plate_source(tmp_path)
        assert source.planes["t"].tolist() == [0, 2] and "times" not in source.metadata


class TestWhatKeepsRecordsApart:
    def test_tiles_are_fields(self, tmp_path):
        records = [{"FieldIndex": f, "PartialTileIndex": p, "X": f"{f}{p}"} for f in "12" for p in "12"]
        images = write_records(tmp_path, records)
        source = find_plate_source(tmp_path)
        check_planes(source, {("A01", field, "C01", 0): image for field, image in enumerate(images, 1)})
        assert source.metadata["fields"]["2"] == "field 1, PartialTileIndex 2"

    def test_tiles_with_fields_of_their_own_keep_their_numbers(self, tmp_path):
        write_records(tmp_path, [{"FieldIndex": n, "PartialTileIndex": "1", "TileXIndex": n} for n in "35"])
        source = find_plate_source(tmp_path)
        assert source.planes["field"].tolist() == [3, 5] and "fields" not in source.metadata

    def test_projections(self, tmp_path):
        write_records(tmp_path, [{"ZIndex": "1"}, {"ZIndex": "2"}, {"ZImageProcessing": "Maximum"}])
        assert find_plate_source(tmp_path).planes["z"].tolist() == [PROJECTION, 0, 1]

    def test_planes_counted_from_0(self, tmp_path):
        write_records(tmp_path, [{"ZIndex": "0"}, {"ZIndex": "1"}, {"ZImageProcessing": "Maximum"}])
        assert find_plate_source(tmp_path).planes["z"].tolist() == [PROJECTION, 0, 1]

    def test_unknown_attribute_is_named(self, tmp_path):
        write_records(tmp_path, [{"LensIndex": "1"}, {"LensIndex": "2", "Time": "2024-01-01T11:00:00+01:00"}])
        with pytest.raises(InputError, match="differ in LensIndex alone"):
            find_plate_source(tmp_path)

    def test_images_in_folders(self, tmp_path):
        images = write_records(tmp_path, [{"file": "Image/a.tif"}, {"file": "Image/b.tif", "FieldIndex": "2"}])
        check_planes(find_plate_source(tmp_path), {("A01", n, "C01", 0): image for n, image in enumerate(images, 1)})

    @pytest.mark.parametrize("newest", [0, 2])
    def test_newest_of_a_field_that_was_imaged_again(self, tmp_path, newest):
        hours = [10, 11, 12]
        hours[newest], hours[2] = hours[2], hours[newest]
        records = [{"Time": f"2024-01-01T{hour}:00:00.1234567+01:00", "X": f"0.{hour}"} for hour in hours]
        images = write_records(
            tmp_path, [{**record, "Z": str(hour)} for record, hour in zip(records, hours, strict=True)]
        )
        source = find_plate_source(tmp_path)
        check_planes(source, {("A01", 1, "C01", 0): images[newest]})
        for number in {0, 1, 2} - {newest}:
            assert source.set_aside[str(tmp_path / f"{number}.tif")] == f"imaged again: {newest}.tif replaces it"

    def test_other_place_is_no_new_image(self, tmp_path):
        write_records(tmp_path, [{}, {"Time": "2024-01-01T11:00:00+01:00", "X": "200"}])
        with pytest.raises(InputError, match="stands for 2 images"):
            find_plate_source(tmp_path)

    def test_same_time_is_no_new_image(self, tmp_path):
        write_records(tmp_path, [{}, {}])
        with pytest.raises(InputError, match="stands for 2 images"):
            find_plate_source(tmp_path)

    def test_record_listed_twice(self, tmp_path):
        (image, _) = write_records(tmp_path, [{"file": "a.tif"}, {"file": "a.tif"}])[::-1]
        source = find_plate_source(tmp_path)
        check_planes(source, {("A01", 1, "C01", 0): image})
        assert str(tmp_path / "a.tif") not in source.set_aside


class TestFailedRecords:
    GOOD = tuple(
        {"Column": "1", "FieldIndex": field, "X": x, "Ch": channel, "ActionIndex": channel, "ZIndex": z}
        for field, x in (("1", "0.0"), ("2", "200.0"))
        for channel in "12"
        for z in "12"
    )

    def lost(self, folder: Path, failure: dict) -> tuple[list, dict]:
        write_records(folder, [*self.GOOD, {"Type": "ERR", "Row": "1", "Column": "2", "TimelineIndex": "1", **failure}])
        source = find_plate_source(folder)
        lost = source.planes[source.planes["path"] == NO_FILE]
        assert len(source.planes) == len(self.GOOD) + len(lost)
        keys = lost[["well", "field", "channel", "z"]].itertuples(index=False, name=None)
        return sorted(keys), source.metadata

    def test_plane(self, tmp_path):
        lost, _ = self.lost(tmp_path, {"FieldIndex": "2", "Ch": "2", "ActionIndex": "2", "ZIndex": "1"})
        assert lost == [("A02", 2, "C02", 0)]

    @pytest.mark.parametrize("field", [{"FieldIndex": "2"}, {"X": "200.0"}])
    def test_autofocus_tells_a_field_by_number_or_position(self, tmp_path, field):
        lost, metadata = self.lost(tmp_path, field)
        assert lost == [("A02", 2, channel, z) for channel in ("C01", "C02") for z in (0, 1)]
        assert (metadata["failed_records"], metadata["failed_records_without_field"]) == (1, 0)

    @pytest.mark.parametrize("failure", [{"X": "77.0"}, {"FieldIndex": "9"}, {"TimePoint": "5", "X": "0.0"}])
    def test_those_that_do_not_tell_are_counted(self, tmp_path, failure):
        lost, metadata = self.lost(tmp_path, failure)
        assert lost == [] and metadata["failed_records_without_field"] == 1

    def test_images_that_were_taken_all_the_same(self, tmp_path):
        assert self.lost(tmp_path, {"Column": "1", "FieldIndex": "2"})[0] == []

    def test_failed_twice(self, tmp_path):
        failure = {"Type": "ERR", "Row": "1", "Column": "2", "FieldIndex": "1"}
        write_records(tmp_path, [*self.GOOD, failure, failure])
        assert (find_plate_source(tmp_path).planes["path"] == NO_FILE).sum() == 4


_NUMBERED = (
    "Row",
    "FieldIndex",
    "Ch",
    "ZIndex",
    "TimePoint",
    "TimelineIndex",
    "ActionIndex",
    "PartialTileIndex",
    "Lens",
)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.integers(1, 2)] * len(_NUMBERED), st.integers(10, 13)), min_size=1, max_size=6))
def test_every_image_is_a_plane_or_set_aside_or_the_plate_is_refused(numbers):
    records = [
        {name: str(value) for name, value in zip(_NUMBERED, values, strict=False)}
        | {"Time": f"2024-01-01T{values[-1]}:00:00"}
        for values in numbers
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), records)
        try:
            source = find_plate_source(folder)
        except InputError as error:
            assert "stands for" in str(error)
            return
        listed = [Path(path).name for path in source.planes["path"]]
        aside = [Path(path).name for path in source.set_aside if path.endswith(".tif")]
        assert sorted(listed + aside) == sorted(f"{n}.tif" for n in range(len(records)))


@needs_cases
def test_odd_measurement():
    source = find_plate_source(CASES / "cellvoyager_two_timelines" / "PL")
    assert len(source.planes) == 8 and source.planes["t"].tolist() == [0, 1] * 4
    assert source.metadata["times"] == ["timeline 1, time 1", "timeline 2, time 1"]
    assert all(f"L0{plane.t + 1}A" in plane.path for plane in source.planes.itertuples())
