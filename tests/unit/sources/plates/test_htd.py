"""The plan of an ImageXpress acquisition: which sites, waves and steps it names."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.errors import InputError
from equinuclei.sources.plates.htd import planned_planes, planned_sites, planned_waves


def sites(*rows: str) -> dict[str, list[str]]:
    """A grid of sites, "x" selected."""
    width = len(rows[0])
    plan = {"Sites": ["TRUE"], "XSites": [str(width)], "YSites": [str(len(rows))]}
    return plan | {f"SiteSelection{n}": ["TRUE" if c == "x" else "FALSE" for c in row] for n, row in enumerate(rows, 1)}


class TestSites:
    def test_all(self):
        assert planned_sites(sites("xx", "xx"), {1}) == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            ({1}, [1, 2, 3]),  # selected ones in turn, as Bio-Formats counts them
            ({1, 3}, [1, 2, 3]),
            ({4}, [2, 3, 4]),  # places of the grid
            ({1, 4}, [1, 2, 4]),  # neither: filled up
            ({7, 8, 9}, [7, 8, 9]),
        ],
    )
    def test_in_part(self, found, expected):
        assert planned_sites(sites(".x", "xx"), found) == expected

    def test_switched_off(self):
        assert planned_sites(sites("xx") | {"Sites": ["FALSE"]}, {1}) == [1]

    @given(st.lists(st.text("x.", min_size=3, max_size=3), min_size=1, max_size=3), st.sets(st.integers(1, 12)))
    def test_number_is_right_and_what_was_found_is_in_it(self, rows, found):
        selected = max(1, sum(row.count("x") for row in rows))
        numbers = planned_sites(sites(*rows), found)
        assert found <= set(numbers) and len(numbers) == len(set(numbers)) == max(selected, len(found))


def test_waves_that_are_not_collected():
    assert planned_waves({"NWavelengths": ["3"], "WaveCollect2": ["0"], "WaveCollect3": ["1"]}) == [1, 3]


def test_well_that_no_plate_has():
    plan = {"YWells": ["1"], "WellsSelection1": ["TRUE"] * 49}
    planes = pd.DataFrame({"well": ["A01"], "field": [1], "channel": ["w1"], "z": [0], "t": [0]})
    with pytest.raises(InputError, match="column 49"):
        planned_planes(plan, planes, {1: "w1"})
