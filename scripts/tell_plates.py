"""The end of a tick: how many plates are done, failed, waiting and excluded, and what a person must do.

python scripts/tell_plates.py [the options that snakemake is called with]

Standard error gets a line for every plate that failed, stopped or waits for a person, at every tick. The exit status is
1 if one of them was not told before as it is, or stopped and is tried again: cron and systemd tell a person.
"""

import sys
from pathlib import Path

from snakemake.cli import parse_args, parse_config
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from equinuclei.config.plates import Plates
from equinuclei.errors import InputError, StoppedError
from equinuclei.plates.inbox import tell_failures
from equinuclei.plates.scan_table import count_states
from equinuclei.plates.tick import end_of_tick, note_results

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
        finished = {plate for plate, _ in plates.finished()}
        end = end_of_tick(rows, finished, plates.results)
        if rows:
            note_results(plates.results, len(rows))
        states = count_states(rows, finished - set(end.stopped))
    except (InputError, StoppedError) as error:
        sys.exit(f"Error: {error}")
    for line in end.lines:
        print(line, file=sys.stderr, flush=True)
    print(
        f"{', '.join(f'{state} {number}' for state, number in states.items())}: {plates.results}/plates.html",
        flush=True,
    )
    sys.exit(int(end.is_news))


if __name__ == "__main__":
    main()
