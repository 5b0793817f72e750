"""Whether a plate has its channel and its plate map is told before anything is converted."""

import errno
import math
from pathlib import Path

import pytest

from equinuclei.errors import UnavailableError
from equinuclei.plates.suitability import find_problem, not_to_be_converted
from equinuclei.sources.plates import contents_of_plate
from equinuclei.sources.plates.contents import Contents, declared_shape
from support.faulty_files import OPENING, failing

PLATES = Path(__file__).resolve().parents[4] / "shared" / "data" / "plates"
PLATE = Contents(
    "P1", "", "toy", (), channels={"DAPI": 460.0, "TL": math.nan, "GFP": 510.0}, wells=frozenset({"A01", "B02"}),
    shape=(8, 12),
)  # fmt: skip
NOT_NUCLEAR = "whose name or emission says nuclear"
CHANNELS = "'DAPI' (460 nm), 'TL', 'GFP' (510 nm)"


def problem(channel="nuclear", channels=None, plate_map=None, plate=PLATE):
    return find_problem(plate, channel, channels, None, plate_map)


def test_a_plate_with_its_channel_is_fine():
    assert problem() is None and problem(["Hoechst", 460]) is None and problem("brightfield", ["TL", "GFP"]) is None


@pytest.mark.parametrize(
    "channel, channels, message",
    [
        ("Cy5", None, r"unknown channel of plate 'P1': 'Cy5'. Known: DAPI, TL, GFP."),
        (["Hoechst", 700], None, f"plate 'P1' has no channel Hoechst, 700 nm; it has {CHANNELS}."),
        ("nuclear", ["GFP", "TL"], f"plate 'P1' has no channel {NOT_NUCLEAR}; it has 'GFP' (510 nm), 'TL'."),
        ("nuclear", ["DAPI", "RFP"], "unknown channel of plate 'P1': 'RFP'. Did you mean 'GFP'? Known: DAPI, TL, GFP."),
        (None, None, f"plate 'P1' has the channels {CHANNELS}: set `plates: {{channel: ...}}` to one of them"),
    ],
)  # fmt: skip
def test_a_channel_that_is_not_there_is_told_with_those_that_are(channel, channels, message):
    assert problem(channel, channels) == ("no channel", message)


def test_what_the_settings_leave_out_is_said_at_the_scan():
    plate = Contents("P1", "", "toy", (), channels=PLATE.channels, times=3, depth=5)
    assert not_to_be_converted(PLATE, None, None, None) == []
    assert not_to_be_converted(plate, ["DAPI", "GFP"], "last", None) == [
        "2 of 3 time points are not converted (t: last)",
        "of 5 planes of a stack, one or a projection is kept",
        "not converted: channel TL",
    ]
    assert len(not_to_be_converted(plate, None, "all", None)) == 1


def test_the_channel_is_looked_for_in_the_acquisition_that_is_converted():
    names = {"cycle0 DAPI": 0, "cycle1 DAPI": 1, "cycle2 CD3": 2}
    plate = Contents("P1", "", "toy", (), channels=dict.fromkeys(names, math.nan), acquisitions=names)
    found = [find_problem(plate, "nuclear", acquisition=number) for number in (None, 0, 1, 2)]
    assert [problem and problem[0] for problem in found] == ["no channel", None, None, None]  # of 2 it is the only one
    assert "'cycle0 DAPI', 'cycle1 DAPI'" in found[0][1]
    assert find_problem(plate, "DAPI", acquisition=2)[0] == "no channel"


@pytest.mark.parametrize(
    "text, message",
    [
        ("well\ttreatment\tcontrol\nA01\tx\tmaybe\n", "control 'maybe' is neither positive nor negative"),
        ("well\nA01\n", "column treatment is missing"),
        ("well\ttreatment\nA01\tx\nA13\ty\nP24\tz\n", "well A13, P24 is not on a plate of 8 rows and 12 columns"),
        ("well\ttreatment\nC03\tx\n", "none of its wells was imaged: these were A01, B02"),
    ],
)
def test_a_bad_plate_map_is_told(tmp_path, text, message):
    (tmp_path / "map.tsv").write_text(text)
    status, why = problem(plate_map=tmp_path / "map.tsv")
    assert status == "bad plate map" and message in why and "map.tsv" in why
    assert problem(plate_map=tmp_path / "none.tsv")[0] == "bad plate map"


def test_a_plate_map_that_cannot_be_read_now_is_not_bad(tmp_path):
    (tmp_path / "map.tsv").write_text("well\ttreatment\nA01\tx\n")
    with (
        failing(tmp_path / "map.tsv", number=errno.ESTALE, calls=OPENING),
        pytest.raises(UnavailableError, match="map"),
    ):
        problem(plate_map=tmp_path / "map.tsv")
    assert problem(plate_map=tmp_path / "map.tsv") is None


def test_a_plate_map_may_name_wells_that_were_not_imaged(tmp_path):
    (tmp_path / "map.tsv").write_text("well\ttreatment\nA01\tx\nH12\ty\n")
    assert problem(plate_map=tmp_path / "map.tsv") is None


@pytest.mark.parametrize(
    "layout, rows, columns, shape",
    [
        ("harmony", 8, 12, (8, 12)), ("harmony", "2", "4", (2, 4)), ("harmony", 1, 1, None), ("metaxpress", 0, 0, None),
        ("ome-zarr", 8, 12, (8, 12)), ("ome-zarr", 2, 2, None), ("harmony", None, "many", None),
    ],
)  # fmt: skip
def test_the_declared_shape_is_believed_where_it_can_be_right(layout, rows, columns, shape):
    assert declared_shape(layout, {"rows": rows, "columns": columns}, ["A01", "B02"]) == shape


@pytest.mark.skipif(not PLATES.is_dir(), reason=f"real plates are not at {PLATES}")
@pytest.mark.parametrize(
    "plate, channel, found",
    [
        ("harmony_phenix_BR00121482", "nuclear", True),
        ("harmony_sonata_BALL", "nuclear", True),
        ("harmony_v7_index_only", "nuclear", True),
        ("metaxpress_export/9987_Plate_3420", "nuclear", True),
        ("metaxpress_export/9987_Plate_3434", "nuclear", True),
        ("cellvoyager_cv8000/CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack", "nuclear", True),
        ("imagexpress_database/Projection-Mix", "nuclear", False),
        ("ome_zarr_hcs/plate_ones.zarr", "nuclear", False),
        ("ome_zarr_hcs/plate_ones.zarr", ["nuclear", "some-label-1"], True),
        ("harmony_phenix_BR00121482", "brightfield", True),
    ],
)
def test_real_plates_have_a_nuclear_channel_whatever_it_is_called(plate, channel, found):
    assert (problem(channel, plate=contents_of_plate(PLATES / plate)) is None) == found
