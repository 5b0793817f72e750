"""Small plates with properties from public reports: what is made of each, or why it is refused."""

import shutil

import pandas as pd
import pytest

from equinuclei.errors import InputError
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.plates.ledger import about_raw_folder, left_out_of
from support.plate_checks import CASES, needs_cases

ALL = "the raw folder may be deleted."
OVERLAP = "of the raw pixels lie under neighbouring fields"

# Wells x fields x channels of the plate, and what its page says of the raw folder.
CONVERTED = {
    "cellvoyager_two_timelines/PL": ((2, 2, 1), "Keep the raw folder: not converted: 1 of 2 time points"),
    "columbus_export/PL": ((2, 2, 2), ALL),
    "harmony_bufferno/PL": ((2, 1, 2), "12 planes of stacks projected"),
    "harmony_empty_url/PL": ((4, 4, 2), "1 image never recorded (well C03)"),
    "harmony_focus_failed2/PL": ((4, 4, 2), "2 of 32 images could not be read (2 missing)"),
    "harmony_index_ref/PL": ((2, 4, 2), OVERLAP),
    "harmony_time_z/PL": ((1, 2, 1), "not converted: 2 of 3 time points; 6 planes of stacks projected"),
    "incell_xdce/PL": ((2, 2, 2), ALL),
    "metaxpress_bracket_guid/PL": ((2, 2, 2), ALL),
    "metaxpress_no_htd_stray/PL": ((2, 2, 2), "Keep the raw folder: 1 unknown file: overview.tif."),
    "metaxpress_partial_copy/PL": ((1, 1, 2), "6 planned images absent (wells B02, B03)"),
    "metaxpress_tiff_stack/PL": ((2, 1, 2), "12 planes of stacks projected"),
    "zarr_derived_image/PL.zarr": ((2, 1, 2), "made from image '0' of the same well"),
    "zarr_multiplex/PL.zarr": ((2, 1, 6), ALL),
}
REFUSED = {
    "harmony_flim/PL": "measurement of fluorescence lifetimes \\(FLIM\\)",
    "zarr_missing_chunks/PL.zarr": "2 of 4 chunks are absent",
}
TIME = {"cellvoyager_two_timelines/PL": 2, "harmony_time_z/PL": 3}


def convert(case, folder, **settings):
    export = folder / case.replace("/", "_")
    shutil.copytree(CASES / case, export)
    selection = {name: settings.pop(name) for name in ("t", "z") if name in settings}
    plate, fields = folder / "plate.ome.zarr", folder / "fields.parquet"
    convert_plate(PlateExport(export, **selection), plate, fields, workers=1, **settings)
    return plate, pd.read_parquet(fields)


@needs_cases
class TestOddPlates:
    @pytest.mark.parametrize("case", CONVERTED)
    def test_is_read_and_what_is_left_out_is_said(self, tmp_path, case):
        plate, fields = convert(case, tmp_path)
        found = tuple(fields[column].nunique() for column in ("well", "field", "channel"))
        assert (found, sentence := about_raw_folder(left_out_of(plate))) == (CONVERTED[case][0], sentence)
        assert CONVERTED[case][1] in sentence
        assert ("Keep the raw folder" in sentence) == (ALL not in sentence)

    @pytest.mark.parametrize("case", REFUSED)
    def test_is_refused_with_the_reason(self, tmp_path, case):
        with pytest.raises(InputError, match=REFUSED[case]):
            convert(case, tmp_path)

    @pytest.mark.parametrize("case", TIME)
    def test_all_times_are_converted_where_asked(self, tmp_path, case):
        plate, fields = convert(case, tmp_path, t="all", z="max")
        assert fields["time"].nunique() == TIME[case] and set(fields["status"]) == {"ok"}
        assert "time point" not in about_raw_folder(left_out_of(plate))

    def test_lost_chunks_are_an_unreadable_field(self, tmp_path):
        _, fields = convert("zarr_missing_chunks/PL.zarr", tmp_path, max_bad_fraction=0.3)
        assert set(fields.loc[fields["status"] != "ok", "well"]) == {"B04"}

    def test_every_case_is_tried(self):
        assert {path.name for path in CASES.iterdir() if path.is_dir()} == {
            case.split("/")[0] for case in (*CONVERTED, *REFUSED)
        }
