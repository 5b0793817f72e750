"""A configuration that stands for more than it shows is refused before anything is made of it."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from equinuclei.config.schema import check_schema
from equinuclei.errors import InputError

SCHEMA = yaml.safe_load((Path(__file__).parents[3] / "workflow/schemas/config.schema.yaml").read_text())
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghij")
)


@pytest.mark.parametrize("key", ["results", "seeds", "datasets", "plates"])
def test_aliases_that_stand_for_billions_of_values(key):
    with pytest.raises(InputError, match="aliases in it stand for more than"):
        check_schema(yaml.safe_load(f"{BOMB}{key}: *j\n"), SCHEMA)


def test_an_alias_of_what_it_is_a_part_of():
    with pytest.raises(InputError, match="stands for what it is a part of"):
        check_schema(yaml.safe_load("plates: &self {table: *self}\n"), SCHEMA)


def test_deep_nesting():
    with pytest.raises(InputError, match="nested more than"):
        check_schema({"seeds": yaml.safe_load("[" * 60 + "]" * 60)}, SCHEMA)


def test_an_ordinary_alias_is_no_fault():
    with pytest.raises(InputError, match="required") as told:
        check_schema(yaml.safe_load("a: &a {device: cpu}\ntraining: *a\n"), SCHEMA)
    assert "alias" not in str(told.value)
