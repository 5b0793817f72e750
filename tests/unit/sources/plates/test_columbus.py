"""Columbus's exports: by their indexes, or else by the names of their files."""

import itertools
from pathlib import Path

import pytest
import tifffile

from equinuclei.errors import InputError
from equinuclei.sources.plates import find_plate_source
from support.plate_checks import CASES, check_planes, needs_cases
from support.plate_exports import random_image, write_columbus

IMAGES, MEASUREMENT = "ImageIndex.ColumbusIDX.xml", "MeasurementIndex.ColumbusIDX.xml"


def write_measurement(folder: Path, references: tuple[str, ...] = (IMAGES,), plates: tuple[str, ...] = ("P1",)) -> None:
    named = "".join(f"<PlateName>{plate}</PlateName>" for plate in plates)
    referred = "".join(f"<Reference>{name}</Reference>" for name in references)
    (folder / MEASUREMENT).write_text(
        '<ColumbusMeasurementIndex xmlns="http://www.perkinelmer.com/Columbus"><ScreenName>S</ScreenName>'
        f"{named}<Measurement MeasurementID='7'>M 1</Measurement>{referred}</ColumbusMeasurementIndex>",
        encoding="utf-8-sig",
    )


def write_names(folder: Path, names: list[str]) -> None:
    write_measurement(folder)
    (folder / IMAGES).write_text("<Root><Plate/></Root>")
    for seed, name in enumerate(names):
        tifffile.imwrite(folder / name, random_image(seed))


class TestIndex:
    @pytest.mark.parametrize("measurement", [True, False])
    def test_pages(self, tmp_path, measurement):
        pixels = write_columbus(tmp_path)
        if measurement:
            write_measurement(tmp_path)
        source = find_plate_source(tmp_path)
        assert source.layout == "columbus" and source.name == "P1"
        check_planes(source, pixels)
        assert find_plate_source(tmp_path / IMAGES).layout == "columbus"

    @pytest.mark.parametrize("referred", [True, False])
    def test_time_points_in_folders(self, tmp_path, referred):
        pixels = {}
        for number, name in enumerate(["T2", "T10"]):
            written = write_columbus(tmp_path / name, first=100 * number)
            pixels |= {(*key, number): image for key, image in written.items()}
        write_measurement(tmp_path, tuple(f"{name}/{IMAGES}" for name in ("T10", "T2")) if referred else ())
        source = find_plate_source(tmp_path)
        check_planes(source, pixels)
        assert source.metadata["times"] == ["folder T2, time 1", "folder T10, time 1"]

    def test_several_plates(self, tmp_path):
        write_columbus(tmp_path)
        write_measurement(tmp_path, plates=("P1", "P2"))
        with pytest.raises(InputError, match=r"2 plates \(P1, P2\): export one at a time"):
            find_plate_source(tmp_path)

    def test_damaged_index_is_no_reason_to_guess(self, tmp_path):
        write_names(tmp_path, ["001001-1-001001001.tif"])
        (tmp_path / IMAGES).write_bytes(b"")
        with pytest.raises(InputError, match="copied whole"):
            find_plate_source(tmp_path)

    def test_reference_that_is_absent(self, tmp_path):
        write_columbus(tmp_path)
        write_measurement(tmp_path, (IMAGES, f"T2/Other.{IMAGES}", "results.xml"))
        with pytest.raises(InputError, match="lacks T2/Other"):
            find_plate_source(tmp_path)

    def test_reference_to_a_folder_that_was_left_out(self, tmp_path):
        pixels = write_columbus(tmp_path)
        write_measurement(tmp_path, (f"Export/{IMAGES}",))
        check_planes(find_plate_source(tmp_path), pixels)

    def test_reference_that_leads_out(self, tmp_path):
        write_measurement(tmp_path, ("../x.ColumbusIDX.xml",))
        with pytest.raises(InputError, match="not in the export's folder"):
            find_plate_source(tmp_path)


class TestNames:
    def test_reads(self, tmp_path):
        keys = list(itertools.product((2, 27), (1, 12), (1, 2)))
        names = [f"{row:03d}003-{field}-00100100{channel}.tif" for row, field, channel in keys]
        write_names(tmp_path, names)
        source = find_plate_source(tmp_path)
        wells = {2: "B03", 27: "AA03"}
        check_planes(
            source, {(wells[r], f, f"channel {c}", 0): random_image(seed) for seed, (r, f, c) in enumerate(keys)}
        )
        assert source.name == "P1"

    @pytest.mark.parametrize("other", ["001001-1-002001001.tif", "001001-1-001002001.tif"])
    def test_numbers_that_nobody_documents(self, tmp_path, other):
        write_names(tmp_path, ["001001-1-001001001.tif", other])
        with pytest.raises(InputError, match=r"001, 002 in one place, do not tell planes of a stack from time points"):
            find_plate_source(tmp_path)

    def test_no_names(self, tmp_path):
        write_names(tmp_path, ["x.tif"])
        with pytest.raises(InputError, match=r"no file is named like 002003-1-001001001\.tif"):
            find_plate_source(tmp_path)

    def test_well_off_the_plate(self, tmp_path):
        write_names(tmp_path, ["099001-1-001001001.tif"])
        with pytest.raises(InputError, match="row 99"):
            find_plate_source(tmp_path)


@needs_cases
def test_odd_export():
    table = find_plate_source(CASES / "columbus_export" / "PL").planes
    assert table["well"].unique().tolist() == ["B02", "B03"]
    assert len(table) == 8 and table["field"].nunique() == table["channel"].nunique() == 2
