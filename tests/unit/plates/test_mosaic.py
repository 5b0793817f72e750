"""Fields in the mosaic of a well: at their positions, or side by side where these are unknown."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from equinuclei.plates.mosaic import place_fields


@st.composite
def fields_of_a_well(draw):
    count = draw(st.integers(1, 8))
    numbers = draw(st.lists(st.integers(1, 99), min_size=count, max_size=count, unique=True))
    place = st.floats(-60.0, 60.0)
    size = st.integers(1, 12)
    return pd.DataFrame(
        [(number, draw(place), draw(place), draw(size), draw(size)) for number in numbers],
        columns=["field", "y", "x", "height", "width"],
    )


class TestPlacement:
    @settings(deadline=None)
    @given(fields_of_a_well(), st.sampled_from([0.3, 0.65, 1.0, 2.5]))
    def test_fields_land_at_their_positions(self, fields, pixel_size):
        placed, height, width = place_fields(fields, pixel_size)
        assert placed["field"].tolist() == sorted(fields["field"])
        assert placed[["y0", "x0"]].min().tolist() == [0, 0]
        assert (placed["y0"] + placed["height"]).max() == height
        assert (placed["x0"] + placed["width"]).max() == width
        joined = placed.merge(fields[["field", "y", "x"]], on="field")
        for pixel, axis in (("y0", "y"), ("x0", "x")):
            away = joined[pixel] * pixel_size - (joined[axis] - joined[axis].min())
            assert (away.abs() <= pixel_size / 2 * 1.0001).all()

    @given(fields_of_a_well())
    def test_unknown_positions_give_a_grid_without_overlap(self, fields):
        fields.loc[0, "x"] = np.nan
        placed, height, width = place_fields(fields, 0.5)
        covered = np.zeros((height, width), int)
        for row in placed.itertuples():
            covered[row.y0 : row.y0 + row.height, row.x0 : row.x0 + row.width] += 1
        assert covered.max() == 1 and covered.sum() == (fields["height"] * fields["width"]).sum()
        order = placed.sort_values(["y0", "x0"])["field"].tolist()
        assert order == sorted(order)
