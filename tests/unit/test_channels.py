"""A channel is meant by its name or its wavelength."""

import math

import pytest

from equinuclei.channels import find_channel
from equinuclei.errors import InputError

WAVELENGTHS = {"DAPI": 456.0, "FITC": 522.0, "488 long": 599.0, "Brightfield": math.nan, "640": 706.0}


@pytest.mark.parametrize(
    "wanted, name",
    [
        ("DAPI", "DAPI"), ("dapi ", "DAPI"), (460, "DAPI"), ("460", "DAPI"), (480.9, "DAPI"), ("488 LONG", "488 long"),
        ("640", "640"), (700, "640"),
    ],
)  # fmt: skip
def test_name_and_wavelength(wanted, name):
    assert find_channel("plate 'p'", WAVELENGTHS, wanted) == name


@pytest.mark.parametrize(
    "wanted, message",
    [
        ("DAPPI", "Did you mean 'DAPI'"),
        (640, "has no channel that emits at 640 nm .*'DAPI' 456 nm"),
        (489, "has no channel that emits at 489"),
        ("nan", "unknown channel of plate 'p': 'nan'"),
    ],
)
def test_no_such_channel(wanted, message):
    with pytest.raises(InputError, match=message):
        find_channel("plate 'p'", WAVELENGTHS, wanted)


def test_two_equally_near():
    with pytest.raises(InputError, match="equally near to 500 nm: choose one by name"):
        find_channel("plate 'p'", {"a": 490.0, "b": 510.0}, 500)


def test_names_that_differ_in_case_alone_are_no_guess():
    assert find_channel("plate 'p'", {"dapi": math.nan, "DAPI": math.nan}, "DAPI") == "DAPI"
    with pytest.raises(InputError, match="unknown channel"):
        find_channel("plate 'p'", {"dapi": math.nan, "DAPI": math.nan}, "Dapi")
