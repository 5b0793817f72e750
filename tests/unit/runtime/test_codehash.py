"""The code digest sees what a rule's script imports, and only statements."""

import pytest

from equinuclei.runtime.codehash import _imports, _syntax_tree, _tree_digest, code_digest

FILES = {
    "train.py": "from lib.models import build\nbuild()\n",
    "draw.py": "import lib.figures\n",
    "lib/__init__.py": "",
    "lib/models/__init__.py": "from lib.layers import conv\ndef build():\n    return conv()\n",
    "lib/models/unet.py": "WIDTH = 1\n",
    "lib/layers.py": '"""Layers."""\ndef conv():\n    """A layer."""\n    return 1  # one\n',
    "lib/figures.py": "import os\n",
}


@pytest.fixture
def digests(tmp_path):
    """Digests of both scripts after some files were changed."""

    def compute(**changes):
        for name, text in {**FILES, **changes}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for cached in (_imports, _syntax_tree, _tree_digest):
            cached.cache_clear()
        return code_digest(tmp_path, "train.py", ["lib/models/unet.py"]), code_digest(tmp_path, "draw.py")

    return compute


def test_a_changed_statement_changes_the_rules_that_import_it(digests):
    train, draw = digests()
    changed = digests(**{"lib/layers.py": FILES["lib/layers.py"].replace("return 1", "return 2")})
    assert changed[0] != train and changed[1] == draw
    changed = digests(**{"lib/figures.py": "import sys\n"})
    assert changed[0] == train and changed[1] != draw


def test_comments_docstrings_and_layout_do_not_count(digests):
    before = digests()
    text = '"""Other words."""\n\n\ndef conv():\n    """And others."""\n\n    return (1)  # two\n'
    assert digests(**{"lib/layers.py": text}) == before


def test_files_imported_by_name_count_where_they_are_given(digests):
    train, draw = digests()
    changed = digests(**{"lib/models/unet.py": "WIDTH = 2\n"})
    assert changed[0] != train and changed[1] == draw
