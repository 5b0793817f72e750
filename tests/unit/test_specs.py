"""The presets."""

import pytest

from equinuclei.specs import PRESETS


@pytest.mark.parametrize("name", [name for name, spec in PRESETS.items() if spec.group != "trivial"])
def test_every_equivariant_preset_has_its_plain_twin_with_either_augmentation(name):
    spec = PRESETS[name]
    twins = {
        other.augmentation: other.widths
        for other in reversed(PRESETS.values())
        if other.group == "trivial" and (other.architecture, other.target) == (spec.architecture, spec.target)
    }
    assert twins.keys() == {"none", "rotations", "dihedral"} and len(set(twins.values())) == 1
    width = {"p4": 4, "p4m": 8}[spec.group] ** 0.5  # of the same number of parameters, but for rounding
    for own, of_twin in zip(spec.widths, twins["none"], strict=True):
        assert own == pytest.approx(of_twin / width, rel=0.07, abs=0.75)
