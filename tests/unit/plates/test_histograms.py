"""Distributions of nuclei: every nucleus is counted once, in the bin of its value."""

import numpy as np
import pandas as pd
import pytest

from equinuclei.plates.histograms import BINS, nuclear_histograms


def nuclei(**more):
    rng = np.random.default_rng(0)
    return pd.DataFrame({"well": np.repeat(["A01", "B02"], [300, 100]), "area": rng.integers(50, 500, 400),
                         "area_um2": np.nan, "solidity": 1.0, "mean_DAPI": rng.normal(size=400), **more})  # fmt: skip


def histograms(table, tmp_path):
    table.to_parquet(tmp_path / "nuclei.parquet")
    return {item["key"]: item for item in nuclear_histograms(tmp_path / "nuclei.parquet")}


def test_every_nucleus_is_in_one_bin(tmp_path):
    table = nuclei()
    found = histograms(table, tmp_path)
    assert list(found) == ["area", "solidity", "mean_DAPI"] and found["area"]["unit"] == "px²"
    for item in found.values():
        assert {well: sum(counts) for well, counts in item["wells"].items()} == {"A01": 300, "B02": 100}
        assert item["high"] > item["low"] and all(len(counts) == BINS for counts in item["wells"].values())
    area, edges = found["area"], np.linspace(found["area"]["low"], found["area"]["high"], BINS + 1)
    inside = table.loc[table["well"] == "B02", "area"]
    expected, _ = np.histogram(inside, [-np.inf, *edges[1:-1], np.inf])
    assert area["wells"]["B02"] == expected.tolist()


def test_areas_are_in_micrometres_where_they_are_known_and_values_may_be_missing(tmp_path):
    table = nuclei(area_um2=12.5)
    table.loc[:49, "mean_DAPI"] = np.nan
    found = histograms(table, tmp_path)
    assert found["area"]["unit"] == "µm²" and found["area"]["low"] == 12.5
    assert sum(found["mean_DAPI"]["wells"]["A01"]) == 250


def test_time_points_are_apart(tmp_path):
    found = histograms(nuclei(time=[0, 2] * 200), tmp_path)["area"]["wells"]
    assert [sum(counts) for counts in found["A01"]] == [150, 0, 150]


def test_no_nuclei_no_histograms(tmp_path):
    assert histograms(nuclei().iloc[:0], tmp_path) == {}


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_one_value_is_a_histogram_too(tmp_path, value):
    found = histograms(nuclei(mean_DAPI=value), tmp_path)["mean_DAPI"]
    assert found["high"] > found["low"] and sum(found["wells"]["A01"]) == 300
