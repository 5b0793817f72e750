"""Harmony's exports: where the index and its files lie, and what keeps images apart."""

import itertools
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.sources.plates import find_plate_source
from equinuclei.sources.plates.planes import NO_FILE
from support.plate_checks import CASES, check_planes, needs_cases, positions
from support.plate_exports import Pixels, random_image, write_evaluation_index, write_harmony


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
        with pytest.raises(InputError, match=r"Index\.xml: cannot be read .* copied whole"):
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


class TestPlacesAndNames:
    """The index in any case, and the files beside it or in folders below it."""

    @pytest.mark.parametrize(
        "index", ["Images/Index.ref.xml", "Index.ref.xml", "Images/INDEX.XML", "index.idx.xml", "Images/INDEX.IDX.XML"]
    )
    def test_names(self, tmp_path, index):
        pixels = write_harmony(tmp_path, index=index)
        for start in {tmp_path, tmp_path / "Images", tmp_path / index}:
            source = find_plate_source(start)
            assert source.layout == "harmony"
            check_planes(source, pixels)

    @pytest.mark.parametrize("images", ["images", "IMAGES"])
    def test_case_of_the_folder(self, tmp_path, images):
        pixels = write_harmony(tmp_path, index="Images/index.xml")
        (tmp_path / "Images").rename(tmp_path / images)
        for start in (tmp_path, tmp_path / images):
            check_planes(find_plate_source(start), pixels)

    def test_case_of_the_files(self, tmp_path):
        pixels = write_harmony(tmp_path)
        for path in (tmp_path / "Images").glob("*.tiff"):
            path.rename(path.with_name(path.name.upper()))
        check_planes(find_plate_source(tmp_path), pixels)

    @pytest.mark.parametrize("named", [True, False])
    def test_index_above_a_folder_per_well(self, tmp_path, named):
        """The index names files with their folders, or by their names alone."""
        pixels: Pixels = {}
        images = []
        for seed, (row, field) in enumerate(itertools.product((1, 2), (1, 2))):
            folder, name = f"r{row:02d}c01", f"r{row:02d}c01f{field:02d}.tiff"
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels["AB"[row - 1] + "01", field, "DAPI", 0] = image = random_image(seed)
            tifffile.imwrite(tmp_path / folder / name, image)
            url = f"{folder}/{name}" if named else name
            images.append({"URL": url, "Row": str(row), "FieldID": str(field)})
        write_evaluation_index(tmp_path / "Index.xml", images)
        check_planes(find_plate_source(tmp_path), pixels)

    def test_export_in_a_folder(self, tmp_path):
        pixels = write_harmony(tmp_path / "BAR 1__2024-06-24-Measurement 1")
        check_planes(find_plate_source(tmp_path), pixels)

    def test_two_exports_in_a_folder(self, tmp_path):
        for number in (1, 2):
            write_harmony(tmp_path / f"Measurement {number}")
        with pytest.raises(InputError, match=r"holds 2 measurements, .*Measurement 1.* give the folder of one"):
            find_plate_source(tmp_path)

    def test_one_name_in_two_folders(self, tmp_path):
        write_evaluation_index(tmp_path / "Index.xml", [{"URL": "a.tiff"}])
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            tifffile.imwrite(tmp_path / folder / "a.tiff", random_image(0))
        with pytest.raises(InputError, match="which is both"):
            find_plate_source(tmp_path)

    def test_absent_files_are_expected_beside_those_that_are_there(self, tmp_path):
        write_harmony(tmp_path, index="Index.xml")
        absent = sorted((tmp_path / "Images").glob("*.tiff"))[3]
        absent.unlink()
        assert str(absent) in set(find_plate_source(tmp_path).planes["path"])


class TestImages:
    """What an index says of single images."""

    def test_pages(self, tmp_path):
        stack = np.stack([random_image(seed) for seed in range(6)])
        tifffile.imwrite(tmp_path / "001001.tif", stack, photometric="minisblack")
        images, pixels = [], {}
        for page, (channel, plane) in enumerate(itertools.product((1, 2), (1, 2, 3))):
            images.append(
                {"URL": "001001.tif", "BufferNo": str(page), "PlaneID": str(plane), "ChannelID": str(channel)}
            )
            pixels["A01", 1, ("DAPI", "FITC")[channel - 1], plane - 1] = stack[page]
        write_evaluation_index(tmp_path / "Index.xml", images)
        check_planes(find_plate_source(tmp_path), pixels)

    def test_planes_counted_from_0(self, tmp_path):
        write_evaluation_index(tmp_path / "Index.xml", [{"URL": f"{n}.tiff", "PlaneID": str(n)} for n in (0, 1)])
        assert find_plate_source(tmp_path).planes["z"].tolist() == [0, 1]

    def test_pages_that_are_not_said(self, tmp_path):
        write_evaluation_index(
            tmp_path / "Index.xml", [{"URL": "001001.tif", "PlaneID": str(plane)} for plane in (1, 2, 3)]
        )
        with pytest.raises(InputError, match=r"001001\.tif' stands for 3 planes"):
            find_plate_source(tmp_path)

    @pytest.mark.parametrize("page", ["-1", "x"])
    def test_pages_that_are_none(self, tmp_path, page):
        write_evaluation_index(tmp_path / "Index.xml", [{"URL": "001001.tif", "BufferNo": page}])
        with pytest.raises(InputError, match="cannot be used"):
            find_plate_source(tmp_path)

    @pytest.mark.parametrize("url", ["", None])
    def test_no_image_was_recorded(self, tmp_path, url):
        tifffile.imwrite(tmp_path / "a.tiff", random_image(0))
        facts = {"FieldID": "2", "PositionX": "1e-5", "ImageResolutionX": "5e-7"}
        write_evaluation_index(tmp_path / "Index.xml", [{"URL": "a.tiff"}, {"URL": url, **facts}])
        first, second = find_plate_source(tmp_path).planes.itertuples()
        assert first.path == str(tmp_path / "a.tiff")
        assert second.path == NO_FILE and second.field == 2
        assert (second.x, second.height, second.width, second.pixel_size) == (5.0, 16, 20, 0.5)

    def test_none_was_recorded_at_all(self, tmp_path):
        write_evaluation_index(tmp_path / "Index.xml", [{"URL": ""}, {"URL": None, "FieldID": "2"}])
        with pytest.raises(InputError, match="none of its 2 images"):
            find_plate_source(tmp_path)

    def test_lifetimes(self, tmp_path):
        images = [{"URL": f"{n}.tiff", "FlimID": str(n)} for n in (1, 2, 3)]
        write_evaluation_index(tmp_path / "Index.xml", images)
        with pytest.raises(InputError, match=r"\(FLIM\).* 'DAPI' \(FlimID 1, 2, 3\).* export the intensity images"):
            find_plate_source(tmp_path)

    @pytest.mark.parametrize("same", ["1", "3", ""])
    def test_one_lifetime_is_an_image(self, tmp_path, same):
        write_evaluation_index(
            tmp_path / "Index.xml", [{"URL": f"{n}.tiff", "FieldID": str(n), "FlimID": same} for n in (1, 2)]
        )
        assert len(find_plate_source(tmp_path).planes) == 2

    def test_what_distinguishes_images_is_named(self, tmp_path):
        images = [{"URL": f"{n}.tiff", "GroupID": str(n), "AbsTime": f"2024-01-01T10:00:0{n}"} for n in (1, 2)]
        write_evaluation_index(tmp_path / "Index.xml", images)
        with pytest.raises(InputError) as caught:
            find_plate_source(tmp_path)
        assert "differ in GroupID alone" in str(caught.value) and "GroupID 1, 2" in str(caught.value)
        assert "several plates" not in str(caught.value)

    def test_images_that_nothing_distinguishes(self, tmp_path):
        write_evaluation_index(tmp_path / "Index.xml", [{"URL": f"{n}.tiff"} for n in (1, 2)])
        with pytest.raises(InputError, match=r"several plates in one folder\?"):
            find_plate_source(tmp_path)


class TestSequences:
    """Images of a plane within a time point: fast kinetics."""

    def write(self, folder: Path, taken: dict[tuple[int, int], int]) -> Pixels:
        """Images by time point and sequence, taken at these seconds."""
        images, pixels = [], {}
        for seed, ((time, sequence), seconds) in enumerate(taken.items()):
            name = f"sk{time}fk{sequence}.tiff"
            image = random_image(seed)
            tifffile.imwrite(folder / name, image)
            order = sorted(taken.values()).index(seconds)
            pixels["A01", 1, "DAPI", 0, order] = image
            facts = {"TimepointID": str(time), "SequenceID": str(sequence)}
            images.append({"URL": name, **facts, "AbsTime": f"2024-06-24T11:48:{seconds:02d}.1234567-04:00"})
        write_evaluation_index(folder / "Index.xml", images)
        return pixels

    @pytest.mark.parametrize(
        ("taken", "first", "second"),
        [
            ({(0, 1): 1, (0, 2): 2, (1, 1): 3, (1, 2): 4}, "time 0, sequence 1", "time 0, sequence 2"),
            ({(0, 1): 1, (0, 2): 3, (1, 1): 2, (1, 2): 4}, "sequence 1, time 0", "sequence 1, time 1"),
        ],
    )
    def test_order_in_which_they_were_taken(self, tmp_path, taken, first, second):
        pixels = self.write(tmp_path, taken)
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)
        assert source.metadata["times"][:2] == [first, second]

    def test_no_order(self, tmp_path):
        self.write(tmp_path, {(0, 1): 4, (0, 2): 3, (1, 1): 2, (1, 2): 1})
        with pytest.raises(InputError, match="differ in sequence and time, and no order"):
            find_plate_source(tmp_path)

    def test_sequences_of_channels_are_no_times(self, tmp_path):
        images = [{"URL": f"{n}.tiff", "ChannelID": str(n), "SequenceID": str(n)} for n in (1, 2)]
        write_evaluation_index(tmp_path / "Index.xml", images)
        source = find_plate_source(tmp_path)
        assert set(source.planes["t"]) == {0} and "times" not in source.metadata


_NUMBERED = ("Row", "FieldID", "ChannelID", "PlaneID", "TimepointID", "SequenceID", "GroupID", "FlimID")


@settings(deadline=None, max_examples=30)
@given(st.sets(st.tuples(*[st.integers(1, 2)] * len(_NUMBERED)), min_size=1, max_size=6))
def test_every_image_is_a_plane_or_the_plate_is_refused(numbers):
    images = [
        {"URL": f"{n}.tiff", **{name: str(value) for name, value in zip(_NUMBERED, values, strict=True)}}
        for n, values in enumerate(sorted(numbers))
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_evaluation_index(Path(folder) / "Index.xml", images)
        try:
            planes = find_plate_source(folder).planes
        except InputError as error:
            assert any(name in str(error) for name in ("GroupID", "FlimID"))
        else:
            assert sorted(Path(path).name for path in planes["path"]) == sorted(image["URL"] for image in images)


@needs_cases
@pytest.mark.parametrize(
    ("case", "planes", "wells", "fields", "channels", "stack", "times"),
    [
        ("harmony_index_ref", 16, 2, 4, 2, 1, 1),
        ("harmony_bufferno", 12, 2, 1, 2, 3, 1),
        ("harmony_empty_url", 32, 4, 4, 2, 1, 1),
        ("harmony_focus_failed2", 32, 4, 4, 2, 1, 1),
        ("harmony_time_z", 18, 1, 2, 1, 3, 3),
    ],
)
def test_odd_exports(case, planes, wells, fields, channels, stack, times):
    source = find_plate_source(CASES / case / "PL")
    table = source.planes
    assert (source.layout, len(table)) == ("harmony", planes)
    found = [table[column].nunique() for column in ("well", "field", "channel", "z", "t")]
    assert found == [wells, fields, channels, stack, times]
    assert (table["path"] == NO_FILE).sum() == (case == "harmony_empty_url")


@needs_cases
def test_odd_export_of_lifetimes():
    with pytest.raises(InputError, match="FLIM"):
        find_plate_source(CASES / "harmony_flim" / "PL")
