"""Plate layouts, quality scores with known answers, and conditions."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from equinuclei.errors import InputError
from equinuclei.plates.quality import (
    PlateFacts,
    edge_effect,
    field_flags,
    flagged_wells,
    plate_shape,
    plate_warnings,
    read_plate_map,
    summarize_conditions,
    verdict,
    z_prime,
)
from equinuclei.wells import STANDARD_SHAPES, parse_well, well_name


@pytest.mark.parametrize("shape", STANDARD_SHAPES)
def test_the_smallest_plate_that_has_all_wells(shape):
    assert plate_shape(["A01", well_name(*shape)]) == shape


def wells(rows=8, columns=12, **values):
    names = [well_name(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    rng = np.random.default_rng(0)
    table = {"count": 100, "failed_fields": 0.0, "focus": 1 + 0.01 * rng.normal(size=len(names)), "saturated": 0.0}
    return pd.DataFrame({"well": names, **table, **values})


def test_a_sound_plate_has_no_warnings():
    assert plate_warnings(wells()).empty


def test_every_fault_is_reported_with_its_well():
    table = wells().set_index("well")
    table.loc["B02", "failed_fields"] = 0.5
    table.loc["C03", "count"] = 0
    table.loc["D04", "saturated"] = 0.2
    table.loc["E05", "focus"] = 0.01
    found = plate_warnings(table.reset_index())
    assert dict(zip(found["well"], found["kind"], strict=True)) == {
        "B02": "failed", "C03": "empty", "D04": "saturated", "E05": "out of focus",
    }  # fmt: skip


def test_an_edge_effect_is_reported():
    table = wells()
    at_edge = [row in (1, 8) or column in (1, 12) for row, column in map(parse_well, table["well"])]
    table.loc[at_edge, "count"] = 60
    assert edge_effect(table) == pytest.approx(0.6)
    assert plate_warnings(table)["kind"].tolist() == ["edge effect"]
    assert edge_effect(table.head(3)) is None and edge_effect(table.head(0)) is None


FLUORESCENCE = PlateFacts(modality="fluorescence", model_diameter=24)
SOUND = {"empty_fields": 0.0, "mean_probability": 0.95, "contrast": 20.0, "median_area": 450.0, "mean_intensity": 9.0}


def faults(fault, facts=FLUORESCENCE, plate_map=None, well="A01", rows=1, columns=1):
    """(well, kind) of the warnings on a plate of which one well has a fault and all others are sound."""
    table = wells(rows, columns, **SOUND).set_index("well")
    assert plate_warnings(table.reset_index(), plate_map, facts).empty or not fault
    for name, value in fault.items():
        table.loc[well, name] = value
    found = plate_warnings(table.reset_index(), plate_map, facts)
    return list(zip(found["well"], found["kind"], strict=True))


@pytest.mark.parametrize("rows, columns", [(1, 1), (8, 12)])
@pytest.mark.parametrize(
    "fault, kind",
    [
        ({"empty_fields": 0.5}, "empty fields"),
        ({"mean_probability": 0.6}, "unsure"),
        ({"contrast": 1.5}, "low contrast"),
        ({"contrast": -0.5}, "wrong kind of image"),
        ({"median_area": 40.0}, "size"),
        ({"median_area": 4000.0}, "size"),
    ],
)
def test_faults_of_a_single_well_need_no_others_beside_it(fault, kind, rows, columns):
    assert faults(fault, rows=rows, columns=columns) == [("A01", kind)]


def test_size_is_judged_as_the_model_sees_it():
    assert faults({"median_area": 112.0}, PlateFacts(model_diameter=24, magnification=1.4)) == []
    assert faults({"median_area": 112.0, "count": 4}, FLUORESCENCE) == []  # of so few it is chance
    assert faults({"median_area": 40.0}, PlateFacts(model_diameter=24, magnification=None)) == []
    assert faults({"median_area": 40.0}, PlateFacts(modality="fluorescence")) == []


def test_a_model_of_brightfield_expects_no_bright_nuclei():
    found = plate_warnings(wells(1, 1, **SOUND), facts=PlateFacts(modality="brightfield"))
    assert found["kind"].tolist() == ["wrong kind of image"]
    assert plate_warnings(wells(1, 1, **SOUND | {"contrast": -0.5}), facts=PlateFacts(modality="brightfield")).empty


def test_a_brightfield_channel_does_not_fit_a_model_of_fluorescence():
    found = plate_warnings(wells(1, 1, **SOUND), facts=PlateFacts(modality="fluorescence", channel="TL Brightfield"))
    assert found["kind"].tolist() == ["wrong kind of image"] and "'TL Brightfield'" in found["text"][0]


def test_sampled_wells_that_disagree_in_size_are_named():
    assert plate_warnings(wells(), facts=PlateFacts(sampled_diameters={"A01": 20.0, "H12": 25.0})).empty
    found = plate_warnings(wells(), facts=PlateFacts(sampled_diameters={"A01": 20.0, "H12": 40.0}))
    assert found["kind"].tolist() == ["sizes disagree"] and "A01 20, H12 40 pixels" in found["text"][0]


def test_controls_that_overlap_are_told():
    plate_map = pd.DataFrame({"well": ["A01", "A02", "B01", "B02"], "control": ["positive"] * 2 + ["negative"] * 2})
    table = wells(2, 2, **SOUND | {"count": [100, 140, 110, 150], "mean_intensity": [5.0, 5.1, 9.0, 9.1]})
    assert plate_warnings(table, plate_map).empty  # one measure tells them apart
    found = plate_warnings(table.drop(columns="mean_intensity"), plate_map)
    assert found["kind"].tolist() == ["controls"]
    assert "Z' is below 0" in found["text"][0] and "positive (A01, A02) and negative (B01, B02)" in found["text"][0]


def test_a_fault_of_many_wells_is_one_warning():
    found = plate_warnings(wells(**SOUND | {"contrast": 1.5}), facts=FLUORESCENCE)
    assert found["kind"].tolist() == ["low contrast"] and found["well"].tolist() == [""]
    assert found["text"][0].startswith(
        "96 of 96 wells (A01, A02, A03, A04, A05 and 91 more), A01: its nuclei stand out"
    )


def test_most_wells_give_the_verdict_on_a_plate():
    turned = SOUND | {"contrast": -0.7, "skewness": -0.97, "mean_probability": 0.7}
    table = wells(2, 3, **turned)
    assert verdict(table, FLUORESCENCE).startswith("inverted, 6 of 6 wells: its nuclei are darker than the background")
    assert flagged_wells(table, FLUORESCENCE) == "inverted 6 of 6 wells"
    table = pd.concat([table.head(2), wells(2, 3, **SOUND | {"skewness": 0.96}).tail(4)])
    assert verdict(table, FLUORESCENCE) == "" and flagged_wells(table, FLUORESCENCE) == "inverted 2 of 6 wells"
    assert flagged_wells(wells(2, 3, **SOUND), FLUORESCENCE) == ""


def test_doubtful_fields_are_told_where_their_well_is_sound():
    rows = [SOUND | {"well": "A01", "field": field, "status": "ok", "count": 9, "saturated": 0.0} for field in range(4)]
    rows[2]["saturated"] = 0.05
    fields = pd.DataFrame([*rows, {"well": "A01", "field": 4, "status": "missing", "count": 0}])
    assert field_flags(fields, FLUORESCENCE) == ["", "", "saturated", "", ""]
    found = plate_warnings(wells(1, 1, **SOUND), facts=FLUORESCENCE, fields=fields)
    assert found[["well", "kind"]].to_numpy().tolist() == [["A01", "saturated"]]
    assert found["text"][0].startswith("1 of its 4 fields (2), 2: 5.0% of the pixels")


def test_every_time_point_has_its_warnings():
    table = pd.concat([wells(1, 1).assign(time=time, count=count) for time, count in enumerate((9, 0))])
    found = plate_warnings(table)
    assert found[["well", "kind", "time"]].to_numpy().tolist() == [["A01", "empty", 1]]


def test_a_plate_has_the_shape_that_it_declares():
    assert plate_shape(["A01", "B03"], (8, 12)) == (8, 12) and plate_shape(["A01", "B03"]) == (2, 3)
    assert plate_shape(["A01", "H12"], (2, 3)) == (8, 12)  # it cannot be right


def test_z_prime_of_zhang():
    # s_p = s_n = 1, means 10 and 0: 1 - 3 * 2 / 10.
    assert z_prime([9, 10, 11], [-1, 0, 1]) == pytest.approx(0.4)
    assert math.isnan(z_prime([1], [2, 3])) and math.isnan(z_prime([1, 1], [1, 1]))
    assert z_prime([9, 10, 11, float("nan")], [-1, 0, 1]) == pytest.approx(0.4)


def test_conditions_are_in_dose_order(tmp_path):
    path = tmp_path / "map.tsv"
    path.write_text(
        "well\ttreatment\tconcentration\tcontrol\na1\tdrug\t10\t\nA2\tdrug\t2\t\nA3\tdrug\t2\t\nA4\tDMSO\t\tnegative\n"
    )
    table = summarize_conditions(wells().assign(count=range(96)), read_plate_map(path), ["count"])
    assert table["treatment"].tolist() == ["DMSO", "drug", "drug"] and table["concentration"].tolist()[1:] == [2, 10]
    assert table["wells"].tolist() == [1, 2, 1] and table["count_mean"].tolist() == [3, 1.5, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("well\nA1\n", "column treatment is missing"),
        ("well\ttreatment\nA1\tx\nA01\ty\n", "well A01 is listed twice"),
        ("well\ttreatment\nQ99x\tx\n", "'Q99x' is not the name of a well, such as B02"),
        ("well\ttreatment\tcontrol\nA1\tx\tyes\n", "control 'yes' is neither"),
        ("well\ttreatment\tconcentration\nA1\tx\t1 uM\n", "concentration '1 uM' is not a number"),
        ("", "not a readable table"),
    ],
)
def test_a_map_that_cannot_be_used_is_reported(tmp_path, text, message):
    path = tmp_path / "map.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_plate_map(path)


def test_quality_needs_little_of_the_library():
    """It is arithmetic on tables: neither networks nor plates on disk are loaded with it."""
    command = "import equinuclei.plates.quality, sys; print(*(n for n in sys.modules if n.startswith('equinuclei')))"
    loaded = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout.split()
    assert "equinuclei.plates.quality" in loaded and len(loaded) <= 10, loaded
