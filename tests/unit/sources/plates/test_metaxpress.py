"""ImageXpress: which files are images of the plate, what their pages are, and which planes are planned and absent."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile

from equinuclei.errors import InputError
from equinuclei.sources.plates import PROJECTION, choose_planes, find_plate_source
from equinuclei.sources.plates.metaxpress import find_metaxpress
from support.plate_checks import CASES, DATA, check_planes, needs_cases, needs_data, positions
from support.plate_exports import Pixels, metaseries, random_image, write_metaxpress

GUID = "12345678-90AB-CDEF-0123-456789ABCDEF"


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


def write_files(folder: Path, names: dict[str, tuple]) -> Pixels:
    """Images by name, and their keys."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels: Pixels = {}
    for seed, (name, key) in enumerate(names.items()):
        pixels[key] = random_image(seed)
        tifffile.imwrite(folder / name, pixels[key])
    return pixels


class TestNamesWithoutPlan:
    @pytest.mark.parametrize("guid", [GUID, f"_[{GUID}]", f"[{GUID}]", f"_{GUID}", f"_{{{GUID}}}"])
    def test_guid(self, tmp_path, guid):
        keys = itertools.product(("B02", "C11"), (1, 2), (1, 2))
        pixels = write_files(tmp_path, {f"p_{w}_s{s}_w{n}{guid}.tif": (w, s, f"w{n}", 0) for w, s, n in keys})
        write_files(tmp_path, {f"p_B02_s1_w1_thumb{guid}.tif": ()})
        source = find_plate_source(tmp_path)
        assert source.layout == "metaxpress" and source.name == "p"
        check_planes(source, pixels)
        assert source.set_aside == {str(tmp_path / f"p_B02_s1_w1_thumb{guid}.tif"): "thumbnail"}

    @pytest.mark.parametrize(("suffix", "key"), [("_w2", (1, "w2")), ("_s2", (2, "w1")), (GUID, (1, "w1"))])
    def test_without_site_or_wave(self, tmp_path, suffix, key):
        names = {f"p_{well}{suffix}.tif": (well, *key, 0) for well in ("B02", "C11")}
        pixels = write_files(tmp_path, names)
        check_planes(find_plate_source(tmp_path), pixels)

    def test_stray_files_stay_unknown(self, tmp_path):
        pixels = write_metaxpress(tmp_path, htd=False, described=False, waves=("w1", "w2"))
        write_files(tmp_path, {"overview.tif": (), "77_Z99_s1_w1.tif": ()})
        source = find_plate_source(tmp_path)
        assert source.layout == "metaxpress" and source.metadata["unknown_images"] == 2
        check_planes(source, pixels)
        assert not any("overview" in path for path in source.set_aside)

    def test_few_plate_names_among_others_are_no_plate(self, tmp_path):
        write_files(tmp_path, {"p_B02_s1_w1.tif": (), "a.tif": (), "b.tif": ()})
        assert not find_metaxpress(tmp_path)

    def test_times_in_names(self, tmp_path):
        pixels = write_files(tmp_path, {f"p_B02_w1_t{t}.tif": ("B02", 1, "w1", 0, t - 1) for t in (1, 2, 3)})
        check_planes(find_plate_source(tmp_path), pixels)

    def test_names_of_two_plates(self, tmp_path):
        write_files(tmp_path, {"one_B02_w1.tif": (), "one_B03_w1.tif": (), "two_C02_w1.tif": ()})
        with pytest.raises(InputError, match=r"2 plates, 'one' \(2\), 'two' \(1\): give the folder of one plate"):
            find_plate_source(tmp_path)

    def test_plan_says_which_plate(self, tmp_path):
        pixels = write_metaxpress(tmp_path)
        write_files(tmp_path, {"two_C02_w1.tif": ()})
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)
        assert source.metadata["unknown_images"] == 1


class TestPages:
    def write(self, folder: Path, count: int = 3, wells: tuple = ("B02", "C11"), **options: object) -> Pixels:
        folder.mkdir(parents=True, exist_ok=True)
        pixels: Pixels = {}
        for seed, (well, wave) in enumerate(itertools.product(wells, (1, 2))):
            stack = np.stack([random_image(10 * seed + page) for page in range(count)])
            tifffile.imwrite(folder / f"p_{well}_w{wave}.tif", stack, photometric="minisblack", **options)
            pixels |= {(well, 1, f"w{wave}", z): stack[z] for z in range(count)}
        return pixels

    @pytest.mark.parametrize(
        "options", [{}, {"metadata": None}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"ome": True}]
    )
    def test_pages_are_planes_of_a_stack(self, tmp_path, options):
        pixels = self.write(tmp_path, **({"metadata": {"axes": "ZYX"}} | options if "ome" in options else options))
        check_planes(find_plate_source(tmp_path), pixels)

    @pytest.mark.parametrize(
        ("kind", "axes", "what"), [("ome", "CYX", "3 channels"), ("imagej", "TYX", "3 time points")]
    )
    def test_pages_that_are_something_else(self, tmp_path, kind, axes, what):
        self.write(tmp_path, **{kind: True}, metadata={"axes": axes})
        with pytest.raises(InputError, match=f"3 pages hold {what}"):
            find_plate_source(tmp_path)

    def test_pages_that_may_be_time_points(self, tmp_path):
        write_metaxpress(tmp_path, planned={"TimePoints": 3})
        for path in (tmp_path / "TimePoint_1").iterdir():
            path.unlink()
        self.write(tmp_path)
        with pytest.raises(InputError, match="plans 3 time points"):
            find_plate_source(tmp_path)

    def test_one_short_file_does_not_decide(self, tmp_path):
        """The pages that it lacks are planes that cannot be read; none of the other files is cut short."""
        self.write(tmp_path)
        tifffile.imwrite(tmp_path / "p_B02_w1.tif", random_image(0))
        planes = find_plate_source(tmp_path).planes
        assert planes.groupby("path")["page"].apply(list).tolist() == [[0, 1, 2]] * 4

    def test_steps_are_one_plane_each(self, tmp_path):
        write_metaxpress(tmp_path, steps=(1, 2))
        for path in tmp_path.rglob("*.TIF"):
            tifffile.imwrite(path, np.zeros((3, 16, 20), "uint16"), photometric="minisblack")
        planes = find_plate_source(tmp_path).planes
        assert len(planes) == 16 and set(planes["page"]) == {0}

    def test_pages_of_other_sizes_are_no_stack(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "p_B02_w1.tif") as tiff:
            tiff.write(random_image(0))
            tiff.write(random_image(1, (4, 4)))
        assert len(find_plate_source(tmp_path).planes) == 1

    def test_many_planes_in_one_page(self, tmp_path):
        path = tmp_path / "p_B02_w1.tif"
        tifffile.imwrite(path, np.zeros((1, 16, 20), "uint16"), imagej=True)
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tag = tiff.pages[0].tags[270]
            tag.overwrite("ImageJ=1.54f\nimages=3\nslices=3\nloop=false\n")
        with path.open("ab") as file:
            file.write(bytes(2 * 2 * 16 * 20))
        with pytest.raises(InputError, match="several planes in one page"):
            find_plate_source(tmp_path)


class TestPlan:
    def planned(self, folder: Path) -> set[tuple]:
        return set(find_plate_source(folder).planned.itertuples(index=False, name=None))

    def test_what_is_absent(self, tmp_path):
        pixels = write_metaxpress(tmp_path)
        for path in tmp_path.rglob("77_C11_s2_w*.TIF"):
            path.unlink()
        source = find_plate_source(tmp_path)
        absent = {("C11", 2, name, 0, 0) for name in ("DAPI", "FITC")}
        assert set(source.planned.itertuples(index=False, name=None)) == absent
        check_planes(source, {key: image for key, image in pixels.items() if key[:2] != ("C11", 2)})

    def test_nothing_is_absent(self, tmp_path):
        write_metaxpress(tmp_path, steps=(0, 1, 2))
        source = find_plate_source(tmp_path)
        assert source.planned.empty and source.planned["field"].dtype.kind == "i"

    def test_steps_times_waves(self, tmp_path):
        more = {"TimePoints": 2, "ZSteps": 3, "NWavelengths": 3, "WaveName3": '"Cy5"'}
        write_metaxpress(tmp_path, wells=("B02",), sites=1, steps=(0, 1, 2), planned=more)
        there = {("B02", 1, name, z, 0) for name in ("DAPI", "FITC") for z in (0, 1)}
        plan = itertools.product(["B02"], [1], ["DAPI", "FITC", "Cy5"], [0, 1, 2], [0, 1])
        assert self.planned(tmp_path) == set(plan) - there

    def test_first_time_point_is_absent(self, tmp_path):
        write_metaxpress(tmp_path, wells=("B02",), sites=1, waves=("DAPI",), planned={"TimePoints": 2})
        (tmp_path / "TimePoint_1").rename(tmp_path / "TimePoint_2")
        source = find_plate_source(tmp_path)
        assert source.planes["t"].tolist() == [1]
        assert self.planned(tmp_path) == {("B02", 1, "DAPI", 0, 0)}

    def test_projections_stand_for_no_plane(self, tmp_path):
        plan = {"ZSeries": "TRUE", "ZSteps": 2, "ZProjection": "TRUE"}
        write_metaxpress(tmp_path, wells=("B02",), sites=1, waves=("DAPI",), planned=plan)
        assert find_plate_source(tmp_path).planes["z"].tolist() == [PROJECTION]
        assert self.planned(tmp_path) == {("B02", 1, "DAPI", z, 0) for z in (0, 1)}

    def test_pages_meet_a_planned_stack(self, tmp_path):
        write_metaxpress(tmp_path, wells=("B02",), sites=1, waves=("DAPI",), planned={"ZSeries": "TRUE", "ZSteps": 2})
        (path,) = tmp_path.rglob("*.TIF")
        tifffile.imwrite(path, np.zeros((2, 16, 20), "uint16"), photometric="minisblack")
        assert self.planned(tmp_path) == set()

    def test_plan_beside_the_images_alone(self, tmp_path):
        pixels = write_metaxpress(tmp_path)
        (tmp_path / "77.HTD").rename(tmp_path / "TimePoint_1" / "77.htd")
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)

    def test_all_time_points_are_planes(self, tmp_path):
        write_metaxpress(tmp_path, planned={"TimePoints": 2})
        (tmp_path / "TimePoint_2").mkdir()
        for path in (tmp_path / "TimePoint_1").iterdir():
            (tmp_path / "TimePoint_2" / path.name).write_bytes(path.read_bytes())
        source = find_plate_source(tmp_path)
        assert len(source.planes) == 16 and set(source.planes["t"]) == {0, 1} and source.planned.empty


@needs_cases
@pytest.mark.parametrize(
    ("case", "planes", "planned", "unknown"),
    [
        ("metaxpress_bracket_guid", 8, 0, 0),
        ("metaxpress_no_htd_stray", 8, 0, 1),
        ("metaxpress_partial_copy", 2, 6, 0),
        ("metaxpress_tiff_stack", 12, 0, 0),
    ],
)
def test_odd_exports(case, planes, planned, unknown):
    source = find_plate_source(CASES / case / "PL")
    assert (source.layout, len(source.planes), len(source.planned)) == ("metaxpress", planes, planned)
    assert source.metadata["unknown_images"] == unknown


@needs_data
def test_planned_of_a_published_export():
    source = find_plate_source(DATA / "metaxpress_export" / "9987_Plate_3434")
    # Two wells, two sites, four waves, three steps: Cy5 and the third step are absent.
    assert len(source.planned) == source.metadata["absent_planes"] == 48 - 24
    assert set(source.planned.query("channel != 'Cy5'")["z"]) == {2}
