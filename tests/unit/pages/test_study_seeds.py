"""What the page of a study says of the number of its seeds."""

import numpy as np
import pandas as pd
import pytest

from equinuclei.pages.study_seeds import seed_cautions


def contrasts(*needed, seeds=2, measure="pixel_F1", kind="declared"):
    row = {"modality": "fluorescence", "kind": kind, "measure": measure, "seeds": seeds}
    return pd.DataFrame([row | {"seeds_needed": number} for number in needed])


@pytest.mark.parametrize(
    "table, told",
    [
        (contrasts(7.0, 4.0, np.inf), ["3 of 3 declared", "About 4 to 7 seeds would decide 2", "would not decide 1: "]),
        (contrasts(7.0, 3.0, seeds=5), ["with 5 seeds, 1 of 2 declared", "About 7 seeds would decide 1."]),
    ],
)
def test_too_few_seeds_are_told_with_how_many_would_do(table, told):
    (sentence,) = seed_cautions(table)
    assert sentence.startswith("fluorescence: with") and all(part in sentence for part in told)
    assert ("known from two alone" in sentence) == (table["seeds"].max() == 2)


@pytest.mark.parametrize(
    "table",
    [
        contrasts(3.0, 5.0, seeds=5),
        contrasts(np.nan, seeds=1),  # the page says elsewhere what one seed is worth
        contrasts(9.0, kind="exploratory"),
        contrasts(9.0, measure="pixel_zeros"),
        contrasts(9.0).iloc[:0],
    ],
)
def test_nothing_is_told_otherwise(table):
    assert seed_cautions(table) == []
