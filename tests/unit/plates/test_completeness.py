"""A plate's name is safe and its own."""

from hypothesis import given
from hypothesis import strategies as st

from equinuclei.plates.completeness import plate_identifier

TEXTS = st.text(max_size=100)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_identifiers_are_safe_names_and_tell_plates_apart(barcode, measurement, other_barcode, other_measurement):
    name = plate_identifier(barcode, measurement)
    assert name and set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not name.startswith(".") and len(name) < 100
    other = plate_identifier(other_barcode, other_measurement)
    same = (barcode, measurement) == (other_barcode, other_measurement)
    joined = "_".join(filter(None, (barcode, measurement))) == "_".join(
        filter(None, (other_barcode, other_measurement))
    )
    assert (name == other) == same or joined


def test_plain_identifiers_stay_as_they_are():
    assert plate_identifier("BR00121482", "2021-09-16") == "BR00121482_2021-09-16"
    assert plate_identifier("plate; rm -rf $(x)", "").startswith("plate_rm_-rf_x")
