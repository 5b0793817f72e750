"""The page of a plate, in a real browser: a click opens the right well, names are data, and nothing is loaded."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest

from equinuclei.plates.page import THUMBNAIL, PlatePage, metrics, thumbnail_edge, well_thumbnail, write_page
from equinuclei.wells import well_name
from support.browser import HOSTILE


def plate(rows, columns, skip=("B02",)):
    names = [well_name(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    names = [name for name in names if name not in skip]
    wells = pd.DataFrame({"well": names, "count": range(len(names)), "median_area": 120.5, "mean_intensity": np.nan,
                          "focus": 0.5, "failed_fields": 0.0, "saturated": 0.0})  # fmt: skip
    fields = pd.DataFrame(
        [{"well": name, "field": field, "count": 7, "median_area": 99.0, "mean_intensity": 5.0, "focus": 0.1,
          "status": "ok" if field == 1 else "truncated"} for name in names for field in (1, 2)]
    )  # fmt: skip
    return wells, fields


def page(tmp_path, rows=2, columns=3, **more):
    wells, fields = plate(rows, columns)
    more = {"plate": "P1", "model": "m", "images": {}, "wells": wells, "fields": fields} | more
    path = tmp_path / "report.html"
    write_page(PlatePage(**more), path)
    return path


@pytest.fixture
def look(browser):
    """Looks at a page after a script ran in it: its HTML, and what failed."""

    def look(path, script=""):
        browser.open(path)
        browser.run(f"{{ {script} }}")
        return browser.dom(), browser.failures

    return look


def test_a_click_opens_the_right_well(look, tmp_path):
    labels = np.zeros((40, 40), int)
    labels[10:20, 10:20] = 1
    image = well_thumbnail(np.arange(1600, dtype=np.uint16).reshape(40, 40), labels)
    path = page(tmp_path, images={"A02": image})
    dom, failures = look(path, "document.querySelector('[data-well=A02]').click()")
    assert failures == []
    panel = dom[dom.index('id="well-name"') :]
    assert "Well A02" in panel and "truncated" in panel and "data:image/jpeg;base64," in panel
    assert re.search(r'data-well="A02"[^>]*aria-selected="true"', dom)
    assert re.search(r'data-well="B02"[^>]*disabled', dom) and "failed fields" in dom


@pytest.mark.parametrize("rows, columns", [(2, 3), (8, 12), (16, 24), (32, 48)])
def test_every_plate_has_its_layout(look, tmp_path, rows, columns):
    dom, failures = look(page(tmp_path, rows, columns))
    assert failures == [] and dom.count("data-well=") == rows * columns


def test_the_metric_is_chosen_and_images_are_shown(look, tmp_path):
    path = page(tmp_path, images={"A01": b"jpeg"})
    script = "metric.value = 'median_area'; metric.dispatchEvent(new Event('change')); sheet.click()"
    dom, failures = look(path, script)
    assert failures == []
    assert "A01: median area, px² 120" in html.unescape(dom) or "A01: median area, px² 121" in html.unescape(dom)
    assert "background-image" in dom


def test_names_are_data(look, tmp_path):
    plate_map = pd.DataFrame({"well": ["A01"], "treatment": [HOSTILE], "concentration": [1.0], "control": [""]})
    path = page(tmp_path, plate=HOSTILE, model=HOSTILE, plate_map=plate_map, footer=HOSTILE)
    dom, failures = look(path, "show('A01')")
    assert failures == [] and "<title>hacked" not in dom
    assert dom.count('document.title="hacked"') + dom.count("document.title=&quot;hacked&quot;") >= 3


def test_the_policy_of_the_page_allows_images_beside_it_and_nothing_else(tmp_path):
    text = page(tmp_path).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == (
        "default-src 'none'; img-src data: 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)


def test_what_was_left_out_stands_at_the_top(look, tmp_path):
    dom, failures = look(page(tmp_path, left_out=[HOSTILE, "2 files are unknown"]))
    top = dom[dom.index('id="look"') : dom.index('id="plate"')]
    assert failures == [] and "2 files are unknown" in top and top.index("unknown") < top.index('id="warnings"')
    assert 'id="left-out"' not in look(page(tmp_path))[0]


def test_a_plate_has_the_shape_that_it_declares(look, tmp_path):
    dom, _ = look(page(tmp_path, shape=(8, 12)))
    assert dom.count("data-well=") == 96


def test_every_number_of_a_well_can_be_shown(look, tmp_path):
    wells, _ = plate(2, 3)
    wells = wells.assign(**{f"mean_{HOSTILE}": 7.0, "at_border": 3, "saturated": 0.25, "median_area_um2": 30.0})
    found = {item["key"]: item for item in metrics(wells, "px²")}
    assert list(found)[:5] == ["count", "median_area", "focus", "failed_fields", "saturated"]
    assert list(found)[5:] == [f"mean_{HOSTILE}", "at_border", "median_area_um2"]
    assert found["saturated"]["digits"] == "%" and "border of what was imaged" in found["at_border"]["meaning"]
    assert "median_area_um2" not in {item["key"] for item in metrics(wells, "µm²")}
    path = page(tmp_path, wells=wells)
    script = f"metric.value = {json.dumps('mean_' + HOSTILE).replace('</', '<' + chr(92) + '/')}; paint()"
    dom, failures = look(path, script)
    assert failures == [] and "A01: mean intensity, </script>" in html.unescape(dom)


def test_conditions_and_truth_are_shown(tmp_path):
    wells, fields = plate(2, 3, skip=())
    wells["mean_intensity"] = [1.0, 1.1, 1.2, 9.0, 9.1, 9.2]
    plate_map = pd.DataFrame({"well": wells["well"], "treatment": ["DMSO"] * 3 + ["drug"] * 3, "concentration": 2.0,
                              "control": ["negative"] * 3 + ["positive"] * 3})  # fmt: skip
    path = tmp_path / "report.html"
    truth = {"object F1": 0.9312}
    write_page(
        PlatePage(plate="P", model="m", wells=wells, fields=fields, images={}, plate_map=plate_map, truth=truth), path
    )
    text = path.read_text()
    assert "0.931" in text and "object F1 against the truth" in text and re.search(r"mean intensity <b>0\.9[23]<", text)


def test_a_thumbnail_is_small_and_outlines_the_labels():
    import imageio.v3 as iio

    labels = np.zeros((900, 700), np.int32)
    labels[300:500, 200:400] = 3
    seen = iio.imread(well_thumbnail(np.zeros((900, 700), np.uint16), labels), extension=".jpg").astype(int)
    assert max(seen.shape) <= THUMBNAIL
    yellow = (seen[..., 0] > 150) & (seen[..., 2] < 120)
    rows, columns = np.nonzero(yellow)
    assert abs(rows.min() - 100) <= 1 and abs(columns.min() - 67) <= 1 and not yellow[130:140, 90:100].any()


def over_time(wells, fields, times=3):
    """The tables at several times: one nucleus more per well at each."""
    return [
        pd.concat([table.assign(time=time, count=table["count"] + time) for time in range(times)], ignore_index=True)
        for table in (wells, fields)
    ]


def test_a_time_is_chosen_and_a_well_followed(look, tmp_path):
    wells, fields = over_time(*plate(2, 3))
    wells.loc[(wells["well"] == "A03") & (wells["time"] == 2), "failed_fields"] = 0.5
    plate_map = pd.DataFrame({"well": ["A01", "A02"], "treatment": "x", "concentration": [1.0, np.nan], "control": ""})
    path = page(tmp_path, wells=wells, fields=fields, plate_map=plate_map)
    dom, failures = look(path, "show('A02')")
    assert failures == [] and 'aria-label="number of nuclei over time: 0: 1, 1: 2, 2: 3"' in dom
    assert 'title="A02: nuclei 1, x"' in dom and "of its fields could not be read" not in dom.split("<script")[0]
    dom, failures = look(path, "time.value = 2; time.dispatchEvent(new Event('change')); show('A03')")
    assert (
        failures == [] and 'title="A02: nuclei 3, x"' in dom and dom.count("50% of its fields could not be read") >= 2
    )
    fields = dom[dom.index('id="well-name"') : dom.index('id="doses"')]
    assert fields.count("<tr>") == 3  # the head and two fields of one time


def test_a_dose_curve_has_a_point_per_well(look, tmp_path):
    names = [well_name(row, column) for row in (1, 2) for column in (1, 2, 3)]
    plate_map = pd.DataFrame({"well": names, "treatment": ["drug"] * 5 + ["DMSO"],
                              "concentration": [0.0, 0.01, 0.01, 1.0, 10.0, np.nan], "control": ""})  # fmt: skip
    wells, fields = plate(2, 3, skip=())
    dom, failures = look(page(tmp_path, wells=wells, fields=fields, plate_map=plate_map))
    chart = dom[dom.index('id="dose-chart"') : dom.index('id="conditions"')]
    assert failures == [] and chart.count("<circle") == 5 and chart.count('class="mean"') == 1
    assert len(re.search(r'points="([^"]*)"', chart)[1].split()) == 4 and "DMSO, mean of 1" in chart
    assert not re.search("NaN|Infinity", chart)
    assert 'id="doses" hidden=""' in look(page(tmp_path))[0]


def test_a_histogram_counts_the_nuclei_of_the_well(look, tmp_path):
    counts = [0] * 31 + [3]
    item = {"key": "area", "unit": "px²", "low": 1.0, "high": 9.0, "wells": {"A01": counts, "A02": counts[::-1]}}
    dom, failures = look(page(tmp_path, histograms=[item]), "show('A01')")
    assert failures == [] and "area, px²: 3 nuclei of well A01 beside those of the plate" in dom
    assert look(page(tmp_path, histograms=[item]), "show('A03')")[1] == []


def test_the_page_of_a_large_plate_is_of_some_megabytes():
    rng = np.random.default_rng(0)
    noise, labels = rng.integers(0, 4000, (900, 900)).astype(np.uint16), rng.integers(0, 2, (900, 900)) * 5
    for wells in (96, 384, 1536):
        # The noisiest image that there can be, in base64.
        assert wells * len(well_thumbnail(noise, labels, thumbnail_edge(wells))) * 4 / 3 < 9e6
