"""Clear what a snakemake that was killed left behind, if none lives: the program of `scripts/unlock.sh`.

python scripts/clear_left_behind.py [the options that snakemake was called with]
"""

import argparse
import subprocess
import sys
from pathlib import Path

from equinuclei.errors import StoppedError
from equinuclei.runtime.left_behind import clear, is_locked

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"
LIVES = 75
"""Exit status where a snakemake works in the folder."""


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--directory", "-d", type=Path, default=Path())
    options = sys.argv[1:]
    folder = parser.parse_known_args(options)[0].directory.absolute()
    try:
        clear(folder)
    except StoppedError as error:
        print(error, file=sys.stderr)
        return LIVES
    # Jobs may be left without a lock: a snakemake that ended here since has taken away every lock, not only its own.
    if not is_locked(folder):
        return 0
    command = ["snakemake", "--snakefile", str(SNAKEFILE), *options, "--unlock", "--quiet", "all"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
