"""A copy of the project, which tests may edit."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def project() -> Path:
    """Folder of the copy; it is deleted when the tests end."""
    copy = Path(tempfile.mkdtemp(prefix="equinuclei-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for name in ("Snakefile", "equinuclei", "scripts", "workflow", "config", "profiles", "envs"):
        source = ROOT / name
        if source.is_file():
            shutil.copy2(source, copy)
        else:
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy
