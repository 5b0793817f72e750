"""Patterns of file names: what is refused, and which names of instruments match which ready pattern."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.file_names import GROUPS, READY_PATTERNS, compile_pattern, name_pattern

# Names from manuals, forums, published data sets and other programs' tests; what their groups are.
NAMES = {
    "incell": {
        "B - 02(fld 1 wv DAPI - DAPI).tif": ("B", "02", "1", "DAPI - DAPI", None, None),
        "A - 01(fld 1 wv UV - DAPI z 3 time 2 - 2636ms).tif": ("A", "01", "1", "UV - DAPI", "3", "2"),
        "B - 4(fld 1 wv GFP - GFP- time 12 - 3600000 ms).tif": ("B", "4", "1", "GFP - GFP", None, "12"),
        "C - 6(fld 1 wv TL - Bright field - open z 01).tif": ("C", "6", "1", "TL - Bright field - open", "01", None),
        "B - 03(fld 1 wv TL-Brightfield - Cy3 wix 2).tif": ("B", "03", "1", "TL-Brightfield - Cy3", None, None),
        "Plate1_A - 01(fld 1 wv 390 - Blue).tif": ("A", "01", "1", "390 - Blue", None, None),
        "D - 05(wv TL-Brightfield - Cy3).tif": ("D", "05", None, "TL-Brightfield - Cy3", None, None),
        "A - 13(fld 2).tif": ("A", "13", "2", None, None, None),
    },
    "cytation": {
        "A1_01_1_1_DAPI_001.tif": ("A1", "1", "DAPI", None, "001"),
        "A1ROI1_02_1_1_Bright Field_High Contrast_003.tif": ("A1", "1", "Bright Field_High Contrast", None, "003"),
        "B2_02_SP10Z11_C1_Bright Field_T001.tif": ("B2", "10", "Bright Field", "11", "001"),
    },
    "evos": {"scan_R_p2_z1_0_B03f01d0.tif": ("B03", "01", "d0", "1", "2")},
    "arrayscan": {
        "MFGTMP-PC_140206180002_A01f00d0.TIF": ("A01", "00", "d0", None, None),
        "AS_09047_050428030001_O14f01d2.TIF": ("O14", "01", "d2", None, None),
        "A01f01d2.TIF": ("A01", "01", "d2", None, None),
        "020506plateruni3t001A01f01d2.TIF": ("A01", "01", "d2", None, "001"),
    },
    "incucyte": {
        "VID1234_A1_1_2020y01m01d_00h00m.tif": ("A1", "1", "VID1234", None, "2020y01m01d_00h00m"),
        "MiaPaCa2-PhaseOriginal_A2_1_03d06h40m.tif": ("A2", "1", "MiaPaCa2-PhaseOriginal", None, "03d06h40m"),
        "phase/VID1630_A1_1_00d00h00m.tif": ("A1", "1", "phase/VID1630", None, "00d00h00m"),
    },
    "scanr": {
        "A1--W00001--P00002--Z00003--T00004--Alexa 488.tif": ("A1", "00002", "Alexa 488", "00003", "00004"),
    },
    "micromanager": {
        "A1-Site_0/img_channel001_position000_time000000000_z002.tif": ("A1", "0", "channel001", "002", "000000000"),
        "run_1/B4-Site_12/img_000000003_DAPI_000.tif": ("B4", "12", "DAPI", "000", "000000003"),
    },
}


@pytest.mark.parametrize(("layout", "name"), [(layout, name) for layout, names in NAMES.items() for name in names])
def test_names_of_instruments_match_their_own_pattern_alone(layout, name):
    matches = {known: found for known, pattern in READY_PATTERNS.items() if (found := pattern.match(name))}
    assert [*matches] == [layout]
    groups = matches[layout].groupdict()
    wells = ("row", "column") if "row" in groups else ("well",)
    assert tuple(groups.get(group) for group in (*wells, "field", "channel", "z", "t")) == NAMES[layout][name]


def test_every_ready_pattern_has_names_to_test_it():
    assert NAMES.keys() == READY_PATTERNS.keys()


def test_what_software_computed_is_no_image_of_the_instrument():
    for name in ("A1_-1_1_1_Stitched[DAPI 377,447]_001.tif", "B2_-2_1_1_Tsf[Stitched[GFP]]_001.tif"):
        assert READY_PATTERNS["cytation"].is_derived(name) and not READY_PATTERNS["cytation"].match(name)
    assert READY_PATTERNS["evos"].is_derived("scan_D_p0_z0_0_B03f01d0.tif")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (r"(?P<well>[A-P]\d+", "is not a regular expression"),
        (r"(?P<wel>[A-P]\d+)", "Did you mean 'well'"),
        (r"(?P<field>\d+)\.tif", "does not tell the well"),
        (r"(?P<row>[A-P])_\d+", "'column' is missing"),
        (r"(?P<well>[A-P]\d+)(?P<row>\d)(?P<column>\d)", "beside 'row' or 'column'"),
        (r"(?P<well>[A-P]\d+)(a+)+\.tif", r"repeats '\(a\+\)\+'"),
        (r"(?P<well>[A-P]\d+)(?:\w|_)*\.tif", "for ever"),
        (r"(?P<well>[A-P]\d+)((?:x\d*)y){2,}", "for ever"),
    ],
)
def test_patterns_that_cannot_be_used(expression, message):
    with pytest.raises(InputError, match=message):
        compile_pattern(expression)


@pytest.mark.parametrize("expression", [r"(?:[^/]+/)*(?P<well>B\d+)_([a+]*)\.tif", r"\(a+\)+(?P<well>x)?(ab)+"])
def test_repeats_that_end_in_one_way_are_fine(expression):
    assert compile_pattern(expression).pattern == expression


@given(st.text(alphabet="(?P<well>a)|+*[]{}1,\\/.", max_size=30))
def test_any_text_is_a_pattern_or_is_refused_in_words(text):
    try:
        assert set(compile_pattern(text).groupindex) <= set(GROUPS)
    except InputError as error:
        assert "the pattern of file names" in str(error) or "group" in str(error)


def test_a_pattern_with_a_slash_is_matched_against_the_path():
    by_path = name_pattern({"pattern": r"(?P<well>B\d+)/(?P<channel>\w+)\.tif"})
    by_name = name_pattern({"pattern": r"(?P<well>B\d+)\.tif"})
    assert by_path.match("B02/DAPI.tif") and not by_path.match("x/B02/DAPI.tif")
    assert by_name.match("x/y/B02.tif") and not by_name.match("B02.tif.tif")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "either 'pattern'"),
        ({"name": "incell", "pattern": "(?P<well>x)"}, "either 'pattern'"),
        ({"name": "incel"}, "Did you mean 'incell'"),
        ({"name": "incell", "page": "z"}, "Did you mean 'pages'"),
        ({"name": "arrayscan", "pages": "y"}, "unknown value of 'pages'"),
    ],
)
def test_mappings_that_cannot_be_used(layout, message):
    with pytest.raises(InputError, match=message):
        name_pattern(layout)
