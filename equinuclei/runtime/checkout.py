"""Rules import the library from their own checkout, whether a library is installed or not."""

import os
import sys
from pathlib import Path


def put_first(checkout: Path) -> None:
    """Let this process, and Python programs that it starts, import the library from a checkout of the project.

    Snakemake hands `sys.path` on to scripts, behind the packages of their environment. PYTHONPATH puts the checkout
    before a library that is installed there; conda environments do not see it, and hold no library.
    """
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout), *(path for path in others if path != str(checkout))])
