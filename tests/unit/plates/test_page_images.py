"""Images beside the page: what they show, how fine they are, and that they keep within their budget."""

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.segmentation import find_boundaries

from equinuclei.plates import page_images
from equinuclei.plates.page_images import OUTLINES, Resolution, choose_resolution, outlines, write_page_images
from support.plate_page import FIELDS, make_plate, value


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return make_plate(tmp_path_factory.mktemp("plate"))


def test_levels_that_are_not_stored_are_made_of_finer_ones(pixels):
    """Pixels are stored whole and four times smaller; of labels, only whole."""
    image, labels = pixels.plate.image("A01"), pixels.segmentation.image("A01").label("nuclei")
    assert (image.reductions, pixels.levels("A01")) == ((1, 4), 3)
    stored, numbers = image.read()[0].astype(float), labels.read()
    for level, step in ((0, 1), (1, 2), (2, 4)):
        size = 1200 // step
        expected = np.floor(stored.reshape(size, step, size, step).mean(axis=(1, 3)) + 0.5)
        np.testing.assert_array_equal(pixels.read("A01", 0, 0, level), expected)
        np.testing.assert_array_equal(pixels.labels("A01", 0, level), numbers[::step, ::step])
        region = slice(250 // step, 800 // step), slice(0, 100 // step)
        np.testing.assert_array_equal(pixels.read("A01", 0, 0, level, region), expected[region])


def decoded(path, encoding):
    """The values that a JPEG stands for."""
    grey = iio.imread(path).astype(float)
    return encoding["low"] + (encoding["high"] - encoding["low"]) * (grey / 255) ** 2


def test_a_well_that_is_small_has_one_image_per_channel_and_no_others(pixels, tmp_path):
    found = write_page_images(pixels, tmp_path, budget=1e9)
    assert sorted(path.name for path in (tmp_path / "A01").iterdir()) == ["t0_c0.jpg", "t0_c1.jpg", "t0_outlines.png"]
    assert found["reduction"] == 1 and [channel["field"] for channel in found["channels"]] == [None, None]
    assert found["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    for number, well in enumerate(("A01", "B02")):
        for channel in (0, 1):
            seen = decoded(tmp_path / well / f"t0_c{channel}.jpg", found["wells"][well][0]["channels"][channel])
            for field in FIELDS.itertuples():
                middle = seen[field.y0 + 300, field.x0 + 300]
                expected = value(number, channel, field.field)
                low = found["wells"][well][0]["channels"][channel]["low"]
                assert abs(middle - max(expected, low)) < 120, (well, channel, field.field)


def test_fields_are_files_of_their_own_where_a_well_is_large(pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(page_images, "WELL_EDGE", 600)
    found = write_page_images(pixels, tmp_path, budget=1e9, workers=2)
    assert found["reduction"] == 2 and found["outlines"] == 1
    assert [channel["field"] for channel in found["channels"]] == [1, 1]
    assert iio.imread(tmp_path / "A01/t0_c0.jpg").shape == (600, 600)
    well = found["wells"]["A01"][0]
    for field, *place, contrast in well["fields"]:
        assert place == FIELDS[FIELDS["field"] == field].iloc[0, 1:].tolist()
        for channel in (0, 1):
            path = tmp_path / f"A01/t0_f{field}_c{channel}.jpg"
            if not value(0, channel, field):
                assert contrast[channel] is None and not path.exists()
                continue
            assert contrast[channel] == [value(0, channel, field)] * 2
            seen = decoded(path, well["channels"][channel])
            assert seen.shape == (600, 600) and abs(np.median(seen) - value(0, channel, field)) < 60
        drawn = iio.imread(tmp_path / f"A01/t0_f{field}_outlines.png", mode="RGBA")
        rows, columns = np.nonzero(drawn[..., 3])
        # A line of two pixels over the edge of the square nucleus.
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (269, 330, 269, 330)
        assert not drawn[280:320, 280:320, 3].any() and (drawn[drawn[..., 3] > 0] == 255).all()


def test_a_small_budget_spares_the_other_channels_first(pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(page_images, "WELL_EDGE", 300)
    whole = write_page_images(pixels, tmp_path / "whole", budget=1e9)["bytes"]
    scarce = write_page_images(pixels, tmp_path / "scarce", budget=0.75 * whole)
    assert scarce["bytes"] < 0.9 * whole
    nuclear, other = (channel["field"] or scarce["reduction"] for channel in scarce["channels"])
    assert nuclear <= other and not any(tmp_path.glob("scarce/*/t0_f4_c1.jpg"))


def test_every_time_point_has_its_images(tmp_path):
    timed = make_plate(tmp_path, wells=("A01",), channels=("DAPI",), times=2)
    found = write_page_images(timed, tmp_path / "images", budget=1e9)
    assert len(list((tmp_path / "images/A01").iterdir())) == 4
    for time, well in enumerate(found["wells"]["A01"]):
        assert well["fields"][1][-1][0] == [value(0, 0, 2) + 50 * time] * 2
        assert (tmp_path / f"images/A01/t{time}_c0.jpg").is_file()


sizes = st.lists(st.floats(1, 1e9), min_size=2, max_size=5)


@given(st.lists(sizes, min_size=1, max_size=4), st.integers(0, 6), st.floats(1, 1e11), st.integers(0, 3))
def test_what_is_chosen_fits_into_the_budget(costs, well, budget, nuclear):
    levels = min(map(len, costs))
    costs = [sorted(of[:levels], reverse=True) for of in costs]
    table = {(n - 1, level): of[level] for n, of in enumerate([costs[0], *costs]) for level in range(levels)}
    nuclear %= len(costs)
    chosen = choose_resolution(table, min(well, levels - 1), nuclear, budget)
    total = sum(table[n, chosen.well] for n in (OUTLINES, *range(len(costs))))
    total += sum(table[channel, level] for channel, level in chosen.fields.items())
    total += table[OUTLINES, chosen.outlines] if chosen.fields else 0
    # The coarsest images of whole wells are made in any case.
    assert total <= budget or chosen == Resolution(levels - 1, {}) or chosen.well == levels - 1
    assert chosen.well >= min(well, levels - 1) and all(level < chosen.well for level in chosen.fields.values())
    assert not chosen.fields or nuclear in chosen.fields


@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_outlines_are_those_of_skimage(height, width, random):
    labels = np.array([[random.randrange(3) for _ in range(width)] for _ in range(height)], np.uint32)
    np.testing.assert_array_equal(outlines(labels), find_boundaries(labels, connectivity=1, mode="thick"))
