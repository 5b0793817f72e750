"""A channel is meant by its name or its wavelength."""

import math
import re

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
    "names, wanted, name",
    [
        (["HOECHST 33342", "Alexa 488"], "Hoechst", "HOECHST 33342"),
        (["Hoechst33342", "FITC"], "Hoechst 33342", "Hoechst33342"),
        (["DAPI - DAPI", "FITC - FITC"], "dapi", "DAPI - DAPI"),
        (["cycle0 DAPI", "cycle0 CD3"], "DAPI", "cycle0 DAPI"),
        (["w1_DAPI", "w2_FITC"], "w1", "w1_DAPI"),
        (["DAPI", "DAPI (2)"], "DAPI", "DAPI"),  # the whole name goes before a part of it
        (["FITC", "DAPI"], ["Hoechst", "DAPI"], "DAPI"),
        (["FITC", "Hoechst", "DAPI"], ["Hoechst", "DAPI"], "Hoechst"),  # in the order given
        (["only"], None, "only"),
        (["nuclear", "DAPI"], "nuclear", "nuclear"),  # a name goes before a keyword
        (["Nuclear pore", "DAPI"], "nuclear", "DAPI"),
        (["RNA", "DNA", "ER"], "nuclear", "DNA"),
        (["Hoechst", "PI"], "nuclear", "Hoechst"),  # PI stains the dead beside it
        (["Fluorescein (FITC)"], "nuclear", "Fluorescein (FITC)"),  # the only one
        (["DAPI", "TL Brightfield"], "brightfield", "TL Brightfield"),
    ],
)
def test_names_that_vendors_write(names, wanted, name):
    assert find_channel("plate 'p'", dict.fromkeys(names, math.nan), wanted) == name


@pytest.mark.parametrize(
    "names, wanted, message",
    [
        (["cycle0 DAPI", "cycle1 DAPI"], "DAPI", "'DAPI' fits the channels 'cycle0 DAPI', 'cycle1 DAPI': choose one"),
        (["cycle0 DAPI", "cycle1 Hoechst"], "nuclear", "fits the channels 'cycle0 DAPI', 'cycle1 Hoechst'"),
        (["Alexa 488", "FITC"], ["DAPI", 460], r"has no channel DAPI, 460 nm; it has 'Alexa 488', 'FITC'"),
        (["w1", "w2"], "nuclear", "has no channel whose name or emission says nuclear; it has 'w1', 'w2'"),
        (["Brightfield"], "nuclear", "has no channel whose name or emission says nuclear; it has 'Brightfield'"),
        (["SAPIENS", "Hoechstol"], "API", "unknown channel"),  # words, not letters
        (["a", "b"], None, "has the channels 'a', 'b': set `plates: {channel: ...}`"),
    ],
)
def test_what_is_no_guess_is_refused(names, wanted, message):
    with pytest.raises(InputError, match=re.escape(message) if "`" in message else message):
        find_channel("plate 'p'", dict.fromkeys(names, math.nan), wanted)


def test_a_nuclear_channel_by_its_emission():
    assert find_channel("p", {"BP445/45": 445.0, "BP525/50": 525.0}, "nuclear") == "BP445/45"
    with pytest.raises(
        InputError,
        match=r"has no channel whose name or emission says nuclear; it has 'CFP' \(475 nm\), 'YFP' \(530 nm\)",
    ):
        find_channel("p", {"CFP": 475.0, "YFP": 530.0}, "nuclear")


@pytest.mark.parametrize(
    "wanted, message",
    [
        ("DAPPI", "Did you mean 'DAPI'"),
        (640, r"has no channel that emits at 640 nm .*'DAPI' \(456 nm\)"),
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
    with pytest.raises(InputError, match="'Dapi' fits the channels 'dapi', 'DAPI'"):
        find_channel("plate 'p'", {"dapi": math.nan, "DAPI": math.nan}, "Dapi")
