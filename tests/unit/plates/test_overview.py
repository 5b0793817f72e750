"""Plates side by side: what is followed, which plates are reported to drift, and the page in a real browser."""

import errno
import html
import re
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from equinuclei.plates.overview import COLUMNS, FOLLOWED, FinishedPlate, compare_plates
from equinuclei.plates.scan_table import ScannedPlate
from support.browser import HOSTILE, in_browser
from support.faulty_files import OPENING, failing

WELLS = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]


def put(folder, name, day=1, failed=0, plate_map=None, model="m-v1", project="", **levels):
    """Tables of a plate whose wells have the values `levels` in every column that is followed."""
    at = folder / name / model
    at.mkdir(parents=True)
    levels = {
        "count": 50,
        "median_area": 300.0,
        "median_area_um2": 75.0,
        "mean_intensity": 900.0,
        "focus": 0.25,
    } | levels
    wells = pd.DataFrame({"well": WELLS, "saturated": 0.0, "failed_fields": 0.0}).assign(**levels)
    wells.to_csv(at / "wells.tsv", sep="\t", index=False)
    status = ["missing"] * failed + ["ok"] * (len(WELLS) - failed)
    fields = pd.DataFrame({"well": WELLS, "field": 1, "status": status, "acquired": f"2026-03-{day:02d}T09:30:00"})
    fields = fields.assign(count=50, saturated=0.0)
    fields.to_csv(at / "fields.tsv", sep="\t", index=False)
    return FinishedPlate(name, model, at.parent / "plate.ome.zarr", at, plate_map, project)


def compare(folder, plates, scanned=()):
    compare_plates(plates, scanned, folder / "plates.tsv", folder / "plates.html")
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
    plates.append(put(tmp_path, "assay", 22, mean_intensity=500.0, project="another assay"))
    table = compare(tmp_path, plates).set_index("plate")
    assert table.loc["dim", "drift"] == "mean_intensity"
    assert (table["drift"] != "").sum() == 1


def test_areas_are_compared_in_micrometres(tmp_path):
    """Plates of two objectives: areas in pixels say nothing. Where no pixel size is known, they are all there is."""
    plates = [put(tmp_path, f"p{n}", n + 1, median_area_um2=75 + 0.1 * n, median_area=300 + 0.4 * n) for n in range(9)]
    plates.append(put(tmp_path, "20x", 20, median_area_um2=75.2, median_area=1200.0))
    table = compare(tmp_path, plates)
    assert set(table["drift"]) == {""} and table["median_area"].iloc[-1] == 1200
    unknown = [put(tmp_path, f"u{n}", n + 1, median_area_um2=np.nan, median_area=300 + 0.4 * n) for n in range(9)]
    unknown.append(put(tmp_path, "large", 20, median_area_um2=np.nan, median_area=1200.0))
    assert compare(tmp_path, unknown)["drift"].iloc[-1] == "median_area"


SCANNED = [
    ScannedPlate("done", "/inbox/done", "ready", "", "toy", 1, 1, "c"),
    ScannedPlate("late", "/inbox/late", "copying", "files changed within the quiet time", "toy", 1, 1, "c"),
    ScannedPlate(
        "bad", "/inbox/bad", "failed", "failed/bad.json (remove it to try again): truncated", "toy", 1, 1, "c"
    ),
    ScannedPlate("blind", "/inbox/blind", "no channel", "plate 'blind' has no channel nuclear", "toy", 1, 1, "c"),
    ScannedPlate("out", "/inbox/out", "excluded", "the table of plates excludes it", "toy", 1, 1, "c"),
    ScannedPlate("died", "/inbox/died", "ready", "", "toy", 1, 1, "c"),
    ScannedPlate("gone", "/inbox/gone", "removed", "its folder is gone; its results stay", "toy", 0, 0, "c"),
]


def test_every_plate_without_a_result_is_told_with_its_reason_and_what_to_do(tmp_path):
    compare(tmp_path, [put(tmp_path, "done"), put(tmp_path, "gone")], SCANNED)
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == []
    text = html.unescape(re.sub(r"<[^>]+>", " ", dom[dom.index('id="others"') : dom.index('id="drift"')]))
    words = " ".join(text.split())
    for plate in SCANNED:
        assert (f"/inbox/{plate.plate}" in words) == (plate.plate not in ("done", "gone"))
    assert "failed/bad.json (remove it to try again): truncated mend what the reason names" in words
    assert "plate 'blind' has no channel nuclear name its channel" in words
    assert "died not finished its jobs ended without a result" in words
    heads = re.findall(r'<b>(\d+)</b><span class="soft">(\w+)</span>', dom)
    assert heads == [("2", "done"), ("3", "failed"), ("1", "waiting"), ("1", "excluded")]


def test_there_is_a_page_before_a_plate_is_finished(tmp_path):
    table = compare(tmp_path, [], SCANNED[1:4])
    assert table.empty and list(table.columns) == COLUMNS
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == [] and "<circle" not in dom and dom.count('data-column="plate"') == 3


def test_no_axis_falls_below_zero(tmp_path):
    plates = [put(tmp_path, f"p{n}", n + 1, focus=0.01 * 3**n, count=n % 3) for n in range(9)]
    compare(tmp_path, plates)
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == [] and dom.count("<rect") > 0
    ticks = re.findall(r'text-anchor="end"[^>]*>([^<]+)</text>', dom)
    assert ticks and not [tick for tick in ticks if tick.startswith(("-", "\N{MINUS SIGN}"))]


def test_the_table_fits_its_page(tmp_path):
    """Also with long names, and words in every column."""
    name = "BR00121482_2021-09-16T12_34_56_re-acquired-after-the-stage-was-mended"
    plates = [put(tmp_path, f"{name}{n}", n + 1, project="a screen of everything", failed=n) for n in range(3)]
    compare(
        tmp_path, plates, [replace(SCANNED[2], plate=name, folder=f"/data/inbox/{name}", why="w " * 99 + "x" * 200)]
    )
    script = "document.body.style.width = '1280px'; document.title = [...document.querySelectorAll('.scroll')]"
    script += ".map(box => box.scrollWidth - box.clientWidth).join(' ')"
    dom, failures = in_browser(tmp_path / "plates.html", script)
    assert failures == []
    assert re.search("<title>(.*?)</title>", dom)[1] == "0 0"


@pytest.mark.parametrize("count", [1, 7])
def test_few_plates_do_not_drift(tmp_path, count):
    plates = [put(tmp_path, f"p{n}", n + 1, focus=0.1 * (n + 1) ** 3) for n in range(count)]
    assert set(compare(tmp_path, plates)["drift"]) == {""}


def test_the_page_links_every_plate_and_draws_it_once_per_chart(tmp_path):
    compare(tmp_path, [put(tmp_path, f"p{n}", n + 1, focus=float(n)) for n in range(9)])
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == []
    charts = len(FOLLOWED) - 1  # areas are known in micrometres
    assert dom.count("<circle") == 9 * charts and dom.count('href="p3/m-v1/report.html"') == charts + 1


def test_a_model_of_its_own_has_charts_of_its_own(tmp_path):
    plates = [put(tmp_path, "a"), put(tmp_path, "b", model="n-v1"), put(tmp_path, "c", 2, model="n-v1")]
    compare(tmp_path, plates)
    script = "assay.value = 'n-v1'; assay.dispatchEvent(new Event('change'))"
    dom, failures = in_browser(tmp_path / "plates.html", script)
    assert failures == [] and dom.count("<circle") == 2 * (len(FOLLOWED) - 1)


def test_names_are_data(tmp_path):
    at = put(tmp_path, "a").folder
    scanned = [ScannedPlate(HOSTILE, HOSTILE, "failed", HOSTILE, "toy", 1, 1, "c")]
    compare(tmp_path, [FinishedPlate(HOSTILE, HOSTILE, tmp_path, at, project=HOSTILE)], scanned)
    dom, failures = in_browser(tmp_path / "plates.html")
    assert failures == [] and "<title>hacked" not in dom and html.unescape(dom).count(HOSTILE) >= 1
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|javascript:)""", dom)


@pytest.mark.parametrize("fault", ["plate map", "no wells.tsv", "broken wells.tsv", "away"])
def test_one_plate_whose_results_cannot_be_read_keeps_no_other_from_the_page(tmp_path, fault):
    (tmp_path / "map.tsv").write_text("a\tb\n1\t2\n")
    plates = [put(tmp_path, "a", plate_map=tmp_path / "map.tsv" if fault == "plate map" else None), put(tmp_path, "b")]
    wells = tmp_path / "a/m-v1/wells.tsv"
    if fault == "no wells.tsv":
        wells.unlink()
    elif fault == "broken wells.tsv":
        wells.write_bytes(b"\xff\xfe\x00")
    scanned = [ScannedPlate("a", "/inbox/a", "ready", "", "toy", 1, 1, "c"), replace(SCANNED[0], plate="b")]
    table, page = tmp_path / "plates.tsv", tmp_path / "plates.html"
    with failing(wells, number=errno.EIO, calls=OPENING) if fault == "away" else nullcontext():
        problems = compare_plates(plates, scanned, table, page)
    assert list(problems) == ["a"] and ("map.tsv" if fault == "plate map" else "wells.tsv") in problems["a"]
    assert pd.read_csv(table, sep="\t")["plate"].tolist() == ["b"]
    assert '"status": "not compared"' in page.read_text() and "mend what the reason names" in page.read_text()
