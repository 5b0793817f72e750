"""`python -m tests.fuzz --inputs 100000 --seed 1`: damaged inputs for every reader, and what became of them."""

import argparse
import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# What tests share is found as pytest finds it, here and in the processes that this one starts.
sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from fuzz.readers import READERS  # noqa: E402
from fuzz.trial import OUTCOMES, Result, count, run_trials  # noqa: E402


def main() -> int:
    """Try the readers. Returns 1 if any input ended otherwise than read or refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, shared by the readers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", action="append", choices=READERS, help="one of them; may be given again")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of a reader, to repeat one")
    parser.add_argument("--workers", type=int, default=1, help="readers tried at once")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="gets the inputs that fail")
    arguments = parser.parse_args()
    names = arguments.reader or list(READERS)
    each = -(-arguments.inputs // len(names))
    numbers = range(arguments.first, arguments.first + each)
    shutil.rmtree(arguments.keep, ignore_errors=True)

    def attempt(name: str) -> tuple[Counter[str], list[Result]]:
        return count(run_trials(name, numbers, arguments.seed, arguments.keep.absolute()))

    failed = 0
    print(f"{'reader':22}" + "".join(f"{outcome:>17}" for outcome in OUTCOMES), flush=True)
    with ThreadPoolExecutor(arguments.workers) as pool:
        for name, (counts, failures) in zip(names, pool.map(attempt, names), strict=True):
            print(f"{name:22}" + "".join(f"{counts[outcome]:17}" for outcome in OUTCOMES), flush=True)
            kinds = Counter(f"{one.outcome}: {one.why.strip().splitlines()[-1][:150]}" for one in failures)
            for kind, times in kinds.most_common(8):
                print(f"    {times:5} {kind}", flush=True)
            failed += len(failures)
    print(f"{failed} failed; they are in {arguments.keep}" if failed else "none failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
