"""Plate layouts, quality scores with known answers, and conditions."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from equinuclei.errors import InputError
from equinuclei.plates.quality import (
    edge_effect,
    focus_score,
    plate_shape,
    plate_warnings,
    read_plate_map,
    saturated_share,
    summarize_conditions,
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


def test_focus_falls_with_blur_and_not_with_exposure():
    image = np.random.default_rng(0).integers(100, 4000, (64, 64)).astype(np.uint16)
    scores = [focus_score(ndimage.gaussian_filter(image, sigma)) for sigma in (0, 1, 2)]
    assert scores[0] > scores[1] > scores[2]
    assert focus_score(image * 2) == pytest.approx(focus_score(image))
    assert focus_score(np.zeros((8, 8), np.uint16)) == 0 == focus_score(np.full((8, 8), 7, np.uint16))


@pytest.mark.parametrize("dtype, limit, share", [("uint16", 65535, 0.25), ("uint16", 4095, 0.25), ("uint8", 255, 0.25),
                                                 ("uint16", 3000, 0), ("float32", 1, 0)])  # fmt: skip
def test_saturation(dtype, limit, share):
    image = np.zeros((4, 4), dtype)
    image[0] = limit
    assert saturated_share(image) == share


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
    assert "equinuclei.plates.quality" in loaded and len(loaded) <= 8, loaded
