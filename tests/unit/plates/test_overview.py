"""Plates side by side: what is followed, which plates are reported to drift, and the page in a real browser."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from equinuclei.errors import InputError
from equinuclei.plates.overview import COLUMNS, FOLLOWED, FinishedPlate, compare_plates
from support.browser import HOSTILE, in_browser

WELLS = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]


def put(folder, name, day=1, failed=0, plate_map=None, model="m-v1", **levels):
    """Tables of a plate whose wells have the values `levels` in every column that is followed."""
    at = folder / name / model
    at.mkdir(parents=True)
    levels = {"count": 50, "median_area": 300.0, "mean_intensity": 900.0, "focus": 0.25} | levels
    wells = pd.DataFrame({"well": WELLS, "saturated": 0.0, "failed_fields": 0.0}).assign(**levels)
    wells.to_csv(at / "wells.tsv", sep="\t", index=False)
    status = ["missing"] * failed + ["ok"] * (len(WELLS) - failed)
    fields = pd.DataFrame({"well": WELLS, "field": 1, "status": status, "acquired": f"2026-03-{day:02d}T09:30:00"})
    fields.to_csv(at / "fields.tsv", sep="\t", index=False)
    return FinishedPlate(name, model, at.parent / "plate.ome.zarr", at, plate_map)


def compare(folder, plates):
    compare_plates(plates, folder / "plates.tsv", folder / "plates.html")
    return pd.read_csv(folder / "plates.tsv", sep="\t", keep_default_na=False)


def test_a_row_per_plate_in_the_order_of_acquisition(tmp_path):
    table = compare(tmp_path, [put(tmp_path, "b", 2, failed=3), put(tmp_path, "a", 3), put(tmp_path, "c", 1)])
    assert list(table.columns) == COLUMNS and table["plate"].tolist() == ["c", "b", "a"]
    row = table.iloc[1]
    assert (row["nuclei"], row["wells"], row["fields"], row["failed_fields"]) == (50 * 24, 24, 24, 3)
    assert set(table["raw_data"]) == {"keep: there is no record (planes.parquet) of what became of every file in it"}
    assert (row["count"], row["median_area"], row["mean_intensity"], row["focus"]) == (50, 300, 900, 0.25)


def test_negative_controls_are_followed_where_they_are_known(tmp_path):
    count = np.where([well[0] == "A" for well in WELLS], 90.0, 50.0)
    count += np.arange(len(WELLS)) % 3
    path = tmp_path / "map.tsv"
    kinds = {"A": "negative", "B": "positive"}
    lines = [f"{well}\tx\t{kinds.get(well[0], '')}" for well in WELLS]
    path.write_text("\n".join(["well\ttreatment\tcontrol", *lines]) + "\n")
    table = compare(tmp_path, [put(tmp_path, "a", plate_map=path, count=count), put(tmp_path, "b", count=count)])
    assert table["reference"].tolist() == ["negative controls", "all wells"]
    assert table["count"].tolist() == [91, 51.5]
    assert 0.5 < float(table["z_prime"][0]) < 1 and table["z_prime"][1] == ""


def test_a_plate_that_departs_from_the_others_of_its_model_is_reported(tmp_path):
    noise = np.random.default_rng(0).normal(0, 5, 12)
    plates = [put(tmp_path, f"p{n}", n + 1, mean_intensity=900 + noise[n]) for n in range(12)]
    plates.append(put(tmp_path, "dim", 20, mean_intensity=500.0))
    plates.append(put(tmp_path, "other", 21, mean_intensity=500.0, model="n-v1"))
    table = compare(tmp_path, plates).set_index("plate")
    assert table.loc["dim", "drift"] == "mean_intensity"
    assert (table["drift"] != "").sum() == 1


@pytest.mark.parametrize("count", [1, 7])
def test_few_plates_do_not_drift(tmp_path, count):
    plates = [put(tmp_path, f"p{n}", n + 1, focus=0.1 * (n + 1) ** 3) for n in range(count)]
    assert set(compare(tmp_path, plates)["drift"]) == {""}


def test_the_page_links_every_plate_and_draws_it_once_per_chart(tmp_path):
    compare(tmp_path, [put(tmp_path, f"p{n}", n + 1, focus=float(n)) for n in range(9)])
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == []
    assert dom.count("<circle") == 9 * len(FOLLOWED) and dom.count('href="p3/m-v1/report.html"') == len(FOLLOWED) + 1


def test_a_model_of_its_own_has_charts_of_its_own(tmp_path):
    plates = [put(tmp_path, "a"), put(tmp_path, "b", model="n-v1"), put(tmp_path, "c", 2, model="n-v1")]
    compare(tmp_path, plates)
    script = "model.value = 'n-v1'; model.dispatchEvent(new Event('change'))"
    dom, failures = in_browser(tmp_path / "plates.html", script)
    assert failures == [] and dom.count("<circle") == 2 * len(FOLLOWED)


def test_names_are_data(tmp_path):
    at = put(tmp_path, "a").folder
    compare(tmp_path, [FinishedPlate(HOSTILE, HOSTILE, tmp_path, at)])
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == [] and "<title>hacked" not in dom and html.unescape(dom).count(HOSTILE) >= 1
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|javascript:)""", dom)


def test_a_plate_map_that_cannot_be_used_is_reported(tmp_path):
    (tmp_path / "map.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(InputError, match=r"map\.tsv: column well, treatment is missing"):
        compare(tmp_path, [put(tmp_path, "a", plate_map=tmp_path / "map.tsv")])
    assert not (tmp_path / "plates.tsv").exists()
