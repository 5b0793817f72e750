"""Measured shapes and intensities against what is known of discs and rectangles."""

import numpy as np
import pandas as pd
import pytest

from equinuclei.images.measure import measure_nuclei, summarize


def disc(shape, y, x, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def one(mask, **arguments):
    return measure_nuclei(mask.astype(np.int32), **arguments).iloc[0]


def fields(*rectangles):
    return pd.DataFrame(rectangles, columns=["field", "y", "x", "height", "width"])


def test_a_disc():
    mask = disc((100, 120), 50, 40, 20)
    nucleus = one(mask, pixel_size=0.5)
    assert (nucleus.y, nucleus.x, nucleus.y_um, nucleus.x_um) == (50, 40, 25, 20)
    assert nucleus.area == mask.sum() == pytest.approx(np.pi * 400, rel=0.01)
    assert nucleus.area_um2 == nucleus.area / 4
    assert nucleus.perimeter == pytest.approx(2 * np.pi * 20, rel=0.02)
    assert nucleus.perimeter_um == nucleus.perimeter / 2
    assert nucleus.eccentricity < 0.01 and nucleus.solidity > 0.96
    assert not nucleus.touches_border and nucleus.field == 0


@pytest.mark.parametrize(("height", "width", "degrees"), [(10, 30, 0), (30, 10, 90)])
def test_a_rectangle(height, width, degrees):
    mask = np.zeros((60, 60), bool)
    mask[5 : 5 + height, 7 : 7 + width] = True
    nucleus = one(mask)
    assert nucleus.area == 300 and nucleus.solidity == 1
    assert (nucleus.y, nucleus.x) == (5 + (height - 1) / 2, 7 + (width - 1) / 2)
    assert nucleus.perimeter == pytest.approx(2 * (10 + 30), rel=0.08)
    # Second moments of a row of n pixels: (n^2 - 1) / 12; skimage counts 1 / 12 more, for the extent of a pixel.
    assert nucleus.eccentricity == pytest.approx(np.sqrt(1 - 100 / 900), rel=2e-3)
    assert nucleus.orientation == pytest.approx(degrees)
    assert np.isnan([nucleus.area_um2, nucleus.y_um, nucleus.probability]).all()


def test_orientation_is_counter_clockwise_on_a_screen():
    y, x = np.mgrid[-30:31, -30:31]
    for degrees in (30, 60, 120):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        mask = ((c * x - s * y) / 20) ** 2 + ((s * x + c * y) / 8) ** 2 <= 1  # up is -y
        assert one(mask).orientation == pytest.approx(degrees, abs=1)


def test_intensities_are_exact_sums():
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 50), np.uint16)
    labels[2:10, 3:20], labels[20:35, 10:12] = 3, 70
    images = rng.integers(0, 65536, (2, 40, 50)).astype(np.uint16)
    probability = rng.random((40, 50)).astype(np.float32)
    table = measure_nuclei(labels, images, channels=["DNA", "actin b"], probability=probability)
    assert table["label"].tolist() == [3, 70]
    for row, label in enumerate((3, 70)):
        inside = labels == label
        for channel, image in zip(("DNA", "actin b"), images, strict=True):
            assert table[f"integrated_{channel}"][row] == int(image[inside].astype(np.int64).sum())
            assert table[f"mean_{channel}"][row] == pytest.approx(image[inside].mean())
        assert table["probability"][row] == pytest.approx(probability[inside].mean())


def test_the_lowest_field_holds_a_nucleus_where_fields_overlap():
    layout = fields((2, 0, 0, 50, 60), (1, 0, 40, 50, 60), (5, 70, 0, 30, 100))
    labels = np.zeros((100, 100), np.int32)
    for number, (y, x) in enumerate([(10, 20), (10, 50), (10, 80), (85, 30), (55, 10), (67, 10)], start=1):
        labels[y - 1 : y + 2, x - 1 : x + 2] = number
    assert measure_nuclei(labels, fields=layout)["field"].tolist() == [2, 1, 1, 5, 2, 5]


def test_abutting_fields_share_no_nucleus():
    labels = np.zeros((10, 40), np.int32)
    labels[4, 19:21] = 1  # its centroid lies on the seam
    layout = fields((1, 0, 0, 10, 20), (2, 0, 20, 10, 20))
    assert measure_nuclei(labels, fields=layout)["field"].tolist() == [2]


def test_what_the_border_cuts_is_marked():
    labels = np.zeros((60, 60), np.int32)
    labels[0:5, 20:25] = 1  # at the border of the image
    labels[25:30, 26:34] = 2  # across the seam of two fields: whole
    labels[36:40, 10:15] = 3  # next to the gap below
    labels[30:34, 10:15] = 4
    layout = fields((1, 0, 0, 40, 30), (2, 0, 30, 60, 30))
    assert measure_nuclei(labels, fields=layout)["touches_border"].tolist() == [True, False, True, False]
    assert measure_nuclei(labels)["touches_border"].tolist() == [True, False, False, False]


@pytest.mark.filterwarnings("error")
def test_tiny_nuclei_and_none():
    labels = np.zeros((20, 20), np.uint32)
    labels[3, 3], labels[6, 6:8], labels[10, 2:9] = 1, 2, 3
    table = measure_nuclei(labels)
    assert table["area"].tolist() == [1, 2, 7] and table["solidity"].notna().all()
    empty = measure_nuclei(np.zeros((20, 20), np.int32), [np.ones((20, 20))], channels=["a"])
    assert empty.empty and empty.columns.tolist() == [*table.columns, "mean_a", "integrated_a"]


def test_wrong_arguments_are_refused():
    labels, image = np.zeros((5, 5), np.int32), np.zeros((5, 5))
    for arguments in (
        {"images": [image], "channels": []},
        {"images": [image, image], "channels": ["a", "a"]},
        {"images": [np.zeros((5, 6))], "channels": ["a"]},
        {"probability": np.zeros((4, 5))},
        {"pixel_size": 0},
        {"fields": fields()},
    ):
        with pytest.raises(ValueError):
            measure_nuclei(labels, **arguments)
    with pytest.raises(ValueError, match="integers"):
        measure_nuclei(image)


def test_summary_of_fields_and_wells():
    labels = np.zeros((50, 100), np.int32)
    labels[5:10, 5:10], labels[20:30, 20:30], labels[30:34, 70:74] = 1, 2, 3
    layout = fields((1, 0, 0, 50, 50), (2, 0, 50, 50, 50))
    image = np.where(labels == 1, 10, np.where(labels == 2, 30, 7))
    nuclei = measure_nuclei(labels, [image], channels=["DNA"], fields=layout, pixel_size=2.0).assign(well="B/02")
    by_field = summarize(nuclei, by=["well", "field"], every=pd.DataFrame({"well": "B/02", "field": [3, 2, 1]}))
    assert by_field["field"].tolist() == [1, 2, 3] and by_field["count"].tolist() == [2, 1, 0]
    assert by_field["median_area"].tolist()[:2] == [62.5, 16] and by_field["median_area_um2"][0] == 250
    assert by_field["mean_DNA"].tolist()[:2] == [20, 7] and by_field["mean_DNA"].isna()[2]
    well = summarize(nuclei, by=["well"]).iloc[0]
    assert (well["well"], well["count"], well["median_area"]) == ("B/02", 3, 25)
    nobody = summarize(nuclei.iloc[:0], by=["well"], every=pd.DataFrame({"well": ["B/02"]}))
    assert nobody["count"].tolist() == [0] and nobody["median_area"].isna().all()
    assert summarize(nuclei.iloc[:0], by=["well"]).empty
    with pytest.raises(ValueError):
        summarize(nuclei, by=[])
