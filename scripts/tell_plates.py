"""One line on the plates of an inbox, for the end of a tick: how many are done, failed, waiting and excluded.

python scripts/tell_plates.py [the options that snakemake is called with]
"""

import sys
from pathlib import Path

from snakemake.cli import parse_args, parse_config
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from equinuclei.config.plates import Plates
from equinuclei.errors import InputError
from equinuclei.plates.inbox import tell_failures
from equinuclei.plates.scan_table import count_states

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    _, options = parse_args(["overview", *sys.argv[1:]])
    config = load_configfile(ROOT / "config/config.yaml")
    for path in options.configfile or ():
        update_config(config, load_configfile(path))
    update_config(config, parse_config(options.config))
    try:
        plates = Plates(config["plates"])
        rows = tell_failures(plates.scan, plates.results, plates.digest)
        states = count_states(rows, [plate for plate, _ in plates.finished()])
    except InputError as error:
        sys.exit(f"Error: {error}")
    print(f"{', '.join(f'{state} {number}' for state, number in states.items())}: {plates.results}/plates.html")


if __name__ == "__main__":
    main()
