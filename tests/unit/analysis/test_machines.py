"""What the page and the summary tell of the machines of a study."""

from equinuclei.analysis.machines import machine_sentences

ONE = {"processor": "a chip", "instructions": "AVX512", "torch": "2.13.0"}
OTHER = ONE | {"instructions": "AVX2"}


def test_trainings_on_one_kind_of_machine_are_one_sentence():
    newer_kernel = ONE | {"platform": "other"}
    records = [
        {"hardware": ONE, "hardware_before": []},
        {"hardware": newer_kernel, "lock": {"sha256": "a", "differ": {}}},
    ]
    assert machine_sentences(records) == ["Trained on a chip, AVX512, 2.13.0."]


def test_what_keeps_numbers_from_coming_out_again_is_told():
    moved = {"hardware": ONE, "hardware_before": [OTHER], "lock": {"differ": {"torch": "2.12.0, locked 2.13.0"}}}
    told = machine_sentences([{"hardware": ONE}, moved])
    assert told[0] == "Trained on a chip, AVX2, 2.13.0; a chip, AVX512, 2.13.0."
    assert told[1].startswith("These are 2 kinds of hardware") and told[2].startswith("1 of 2 trainings began on one")
    assert told[3].endswith("torch 2.12.0, locked 2.13.0.") and len(told) == 4


def test_records_without_hardware_tell_nothing():
    assert machine_sentences([{"seed": 0}]) == []
