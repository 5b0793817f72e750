"""The page of a plate, in a real browser: a click opens the right well, names are data, and nothing is loaded."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from equinuclei.plates.page import THUMBNAIL, PlatePage, well_thumbnail, write_page
from equinuclei.wells import well_name
from support.browser import HOSTILE, in_browser


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
    more = {"plate": "P1", "model": "m", "images": {}} | more
    path = tmp_path / "report.html"
    write_page(PlatePage(wells=wells, fields=fields, **more), path)
    return path


def test_a_click_opens_the_right_well(tmp_path):
    labels = np.zeros((40, 40), int)
    labels[10:20, 10:20] = 1
    image = well_thumbnail(np.arange(1600, dtype=np.uint16).reshape(40, 40), labels)
    path = page(tmp_path, images={"A02": image})
    dom, failures = in_browser(path, "document.querySelector('[data-well=A02]').click()")
    assert failures == []
    panel = dom[dom.index('id="well-name"') :]
    assert "Well A02" in panel and "truncated" in panel and "data:image/jpeg;base64," in panel
    assert re.search(r'data-well="A02"[^>]*aria-pressed="true"', dom)
    assert re.search(r'data-well="B02"[^>]*disabled', dom) and "failed fields" in dom


@pytest.mark.parametrize("rows, columns", [(2, 3), (8, 12), (16, 24), (32, 48)])
def test_every_plate_has_its_layout(tmp_path, rows, columns):
    dom, failures = in_browser(page(tmp_path, rows, columns))
    assert failures == [] and dom.count("data-well=") == rows * columns


def test_the_metric_is_chosen_and_images_are_shown(tmp_path):
    path = page(tmp_path, images={"A01": b"jpeg"})
    script = "metric.value = 'median_area'; metric.dispatchEvent(new Event('change')); sheet.click()"
    dom, failures = in_browser(path, script)
    assert failures == []
    assert "A01: median area, px² 120" in html.unescape(dom) or "A01: median area, px² 121" in html.unescape(dom)
    assert "background-image" in dom


def test_names_are_data(tmp_path):
    plate_map = pd.DataFrame({"well": ["A01"], "treatment": [HOSTILE], "concentration": [1.0], "control": [""]})
    path = page(tmp_path, plate=HOSTILE, model=HOSTILE, plate_map=plate_map, footer=HOSTILE)
    dom, failures = in_browser(path, "show('A01')")
    assert failures == [] and "<title>hacked" not in dom
    assert dom.count('document.title="hacked"') + dom.count("document.title=&quot;hacked&quot;") >= 3


def test_the_page_needs_no_network(tmp_path):
    text = page(tmp_path).read_text()
    assert "default-src 'none'" in text and not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)


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
