"""How tests are shared out to the workers of pytest-xdist."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items) -> None:
    """With `--dist loadgroup` one worker runs the tests of a file, and all of the workflow, which share a study."""
    for item in items:
        room, *rest = item.path.relative_to(HERE).parts
        item.add_marker(pytest.mark.xdist_group("workflow" if room == "workflow" else "/".join([room, *rest])))
