"""The settings of a training agree with the configuration's schema, and can be read where there is no torch."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from equinuclei.errors import InputError
from equinuclei.training.settings import CHOICES, TrainingSettings
from support.training import SETTINGS, changed

ROOT = Path(__file__).parents[3]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())["$defs"]["training"]["properties"]
TYPES = {int: "integer", float: "number", bool: "boolean"}


def test_the_schema_has_every_setting_and_no_other_but_the_epochs_of_tuning():
    assert [name for name in SCHEMA if name != "tuning_epochs"] == [field.name for field in fields(TrainingSettings)]
    for field in fields(TrainingSettings):
        if field.name in CHOICES:
            assert sorted(SCHEMA[field.name]["enum"]) == sorted(CHOICES[field.name])
        elif field.name != "learning_rate":
            assert SCHEMA[field.name]["type"] == TYPES[field.type]
    numbers = SCHEMA["learning_rate"]["oneOf"]
    assert numbers[0]["type"] == numbers[1]["items"]["type"] == TYPES[float]


@pytest.mark.parametrize("name", CHOICES)
def test_another_word_is_refused(name):
    with pytest.raises(InputError, match=f"unknown training {name} 'other'"):
        changed(**{name: "other"})


def test_settings_come_from_plain_values():
    assert TrainingSettings.from_mapping(vars(SETTINGS)) == SETTINGS
    with pytest.raises(InputError, match=r"unknown training setting 'epoch'\. Did you mean 'epochs'"):
        TrainingSettings.from_mapping({"epoch": 3})


def test_settings_need_no_torch():
    code = "import sys; import equinuclei.training.settings; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
