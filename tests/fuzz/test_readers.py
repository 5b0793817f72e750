"""Some damaged inputs for every reader: each is read, or refused in one message. `python -m tests.fuzz` tries more."""

import pytest

from .readers import READERS
from .trial import count, run_trials

INPUTS = {"zarr plate": 10, "zarr chunks": 10, "own plate": 10, "own stack": 10}
OTHER_INPUTS = 25


@pytest.mark.parametrize("reader", READERS)
def test_damaged_inputs_are_read_or_refused(reader, tmp_path):
    counts, failures = count(run_trials(reader, range(INPUTS.get(reader, OTHER_INPUTS)), 0, keep=tmp_path))
    assert not failures, f"kept in {tmp_path}: {failures[0]}"
    assert counts["read"]
