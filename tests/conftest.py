"""How tests are shared out to the workers of pytest-xdist."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items) -> None:
    """With `--dist loadgroup`, a file's tests run in one worker; those of the workflow do all, and share their study."""
    for item in items:
        room, *rest = item.path.relative_to(HERE).parts
        item.add_marker(pytest.mark.xdist_group("workflow" if room == "workflow" else "/".join([room, *rest])))
