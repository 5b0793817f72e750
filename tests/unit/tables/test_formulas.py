"""No text of a table is a formula, and every text comes back."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.tables.files import without_formulas
from equinuclei.tables.formulas import guarded, unguarded

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@given(st.text() | st.builds("".join, st.tuples(st.sampled_from(["", "'", "''"]), st.sampled_from(STARTS), st.text())))
def test_no_text_begins_as_a_formula_and_all_come_back(text):
    safe = guarded(text)
    assert not safe.startswith(STARTS) and unguarded(safe) == text
    assert safe in (text, f"'{text}")


@pytest.mark.parametrize("text", ["", "'", "'quoted'", "A01", "1-2", "x=1", "'tis"])
def test_other_texts_stay(text):
    assert guarded(text) == text == unguarded(text)


def test_numbers_stay_and_names_of_columns_do_not():
    table = pd.DataFrame({"=name": ["-x", "y"], "value": [-1.5, 2.0], "on": [True, False]})
    assert without_formulas(table).to_dict("list") == {
        "'=name": ["'-x", "y"],
        "value": [-1.5, 2.0],
        "on": [True, False],
    }
