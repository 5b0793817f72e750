"""What is doubtful about nuclei that were found: a judgement of measured numbers."""

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equinuclei.images.flags import KINDS, Findings, ModelKnows, Remedies, judge

REMEDIES = Remedies(invert="INVERT", model="MODEL", diameter="DIAMETER")
STAINED, UNSTAINED = ModelKnows("fluorescence", 24.0), ModelKnows("brightfield")
SOUND = Findings(
    count=40, mean_probability=0.93, solidity=0.95, contrast=30.0, skewness=0.96, sharpness=1.55, saturated=0.001,
    diameter=20.0, magnification=1.0,
)  # fmt: skip
UNSTAINED_SOUND = dataclasses.replace(
    SOUND, mean_probability=0.85, solidity=0.97, contrast=-0.5, skewness=-0.25, sharpness=2.4
)


def kinds(model=STAINED, sound=SOUND, **changes):
    return [flag.kind for flag in judge(dataclasses.replace(sound, **changes), model, REMEDIES)]


def test_a_sound_image_has_no_flag():
    assert kinds() == [] and kinds(UNSTAINED, UNSTAINED_SOUND) == []


@pytest.mark.parametrize(
    "changes, kind",
    [
        ({"saturated": 0.02}, "saturated"),
        ({"skewness": -0.97, "contrast": -0.7, "solidity": 0.75, "mean_probability": 0.6}, "inverted"),
        # Found with confidence, and still the gaps between nuclei.
        ({"skewness": -0.9, "contrast": 3.5, "solidity": 0.83, "mean_probability": 0.93}, "inverted"),
        ({"skewness": -0.98, "count": 0, "contrast": math.nan, "solidity": math.nan}, "inverted"),
        ({"skewness": -0.25, "contrast": 1.2, "solidity": 0.83, "mean_probability": 0.82}, "wrong kind of image"),
        ({"skewness": 0.01, "contrast": 2.0, "solidity": 0.85, "mean_probability": 0.87}, "wrong kind of image"),
        ({"contrast": 2.0}, "low contrast"),
        ({"count": 0, "contrast": math.nan, "diameter": math.nan}, "empty"),
        ({"sharpness": 1.25, "mean_probability": 0.85}, "out of focus"),
        ({"mean_probability": 0.7}, "unsure"),
        ({"solidity": 0.85}, "unsure"),
        ({"told": 5.0, "magnification": 4.0}, "size at the limit"),
        ({"told": 60.0, "magnification": 0.4}, "size"),
        ({"told": 10.0, "magnification": 2.4}, "size"),
        ({"magnification": 0.5}, "size"),
        ({"diameter": 4.5, "magnification": 4.0}, "size at the limit"),
        ({"diameter": 450.0, "magnification": 1 / 16}, "size at the limit"),
        ({"at_limit": True}, "size at the limit"),
    ],
)
def test_a_model_of_fluorescence(changes, kind):
    assert kinds(**changes) == [kind]


@pytest.mark.parametrize(
    "changes, kind",
    [
        ({"skewness": 0.95, "contrast": 30.0}, "wrong kind of image"),
        ({"skewness": -0.96, "contrast": -5.0, "mean_probability": 0.6}, "wrong kind of image"),
        ({"skewness": 0.25}, "inverted"),
        ({"contrast": 1.8}, "inverted"),
        ({"sharpness": 1.3, "mean_probability": 0.8}, "out of focus"),
        ({"mean_probability": 0.6}, "unsure"),
        ({"count": 0, "contrast": math.nan}, "empty"),
    ],
)
def test_a_model_of_brightfield(changes, kind):
    assert kinds(UNSTAINED, UNSTAINED_SOUND, **changes) == [kind]


def test_confluent_nuclei_are_not_taken_for_an_inverted_image():
    assert kinds(skewness=-0.6, contrast=12.0) == []


def test_blur_that_does_no_harm_is_no_flag():
    assert kinds(sharpness=1.28, mean_probability=0.95) == []


def test_the_text_says_what_to_do():
    def text(**changes):
        return " ".join(flag.text for flag in judge(dataclasses.replace(SOUND, **changes), STAINED, REMEDIES))

    inverted = text(skewness=-0.97, contrast=-0.7)
    assert inverted == "its nuclei are darker than the background, as in an inverted image: INVERT"
    assert "nuclei of 60 pixels were told, and those that were found have 20: DIAMETER" in text(told=60.0)
    assert "about 6 to 384" in text(told=5.0) and "MODEL of brightfield" in text(skewness=0.0, contrast=1.0)


NUMBERS = st.one_of(st.just(math.nan), st.floats(-1e3, 1e3))


@given(
    st.builds(
        Findings, st.integers(0, 5), *[NUMBERS] * 7, st.none() | st.floats(1, 500), st.none() | st.floats(0.25, 4),
        st.booleans(),
    ),
    st.sampled_from([STAINED, UNSTAINED, ModelKnows()]),
)  # fmt: skip
def test_every_image_is_judged_whatever_is_unknown(found, model):
    flags = judge(found, model, REMEDIES)
    assert len({flag.kind for flag in flags}) == len(flags) and {flag.kind for flag in flags} <= set(KINDS)
    assert all(flag.text and not re.search(r"\bnan\b", flag.text) for flag in flags)


def test_nothing_is_flagged_for_what_is_unknown():
    assert judge(Findings(3), STAINED, REMEDIES) == []
