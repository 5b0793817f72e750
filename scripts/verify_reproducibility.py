"""Run the tiny study twice, in two folders, and compare every file.

`make verify`: with different numbers of cores. `make verify-slurm`: the second time through SLURM; what follows `--` is
passed on to snakemake there, such as `--default-resources slurm_account=lab mem_mb=2000 runtime=60`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence, Set
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from equinuclei.checksums import RECORD

ROOT = Path(__file__).resolve().parents[1]

# What a clock says, and where an interrupted training went on.
TIMES = frozenset({"train_seconds", "train_cpu_seconds", "seconds", "cpu_seconds", "resumed_after_epoch"})


def without_times(path: Path, keys: Set[str] = TIMES) -> str:
    """The content of a JSON or TSV file without what a clock says. keys : left out of JSON files."""
    if path.suffix == ".json":
        text = path.read_text(encoding="utf-8")
        try:
            return json.dumps(_strip(json.loads(text), keys), sort_keys=True)
        except ValueError:  # it is broken, and so like no other
            return text
    return pd.read_csv(path, sep="\t", dtype=str).drop(columns=list(TIMES), errors="ignore").to_csv(index=False)


def without_measured(path: Path) -> str:
    """The text of a page without the cells that it marks as measured: times, and checksums of files that hold times."""
    return re.sub(r'<td class="measured[^>]*>.*?</td>', "", path.read_text(encoding="utf-8"))


def _strip(value: object, keys: Set[str]) -> object:
    if isinstance(value, Mapping):
        return {key: _strip(part, keys) for key, part in value.items() if key not in keys}
    return [_strip(part, keys) for part in value] if isinstance(value, list) else value


Allowance = tuple[str, str, Callable[[Path], str] | None]

# What may differ, why, and how the rest of it is compared; None where there is nothing else in it.
MAY_DIFFER: list[Allowance] = [
    ("logs/*", "times of day, in the order in which jobs ran", None),
    ("benchmarks/*", "measured time and memory", None),
    ("*.snakemake_timestamp", "time of day", None),
    ("*/run.json", "seconds of training, resumed_after_epoch; all else is equal", without_times),
    ("*/learning_rate.json", "seconds of every candidate; all else is equal", without_times),
    ("*/tables/*.tsv", "seconds of training; all else is equal", without_times),
    ("*/tables/summary.txt", "seconds of training", None),
    ("*/tables/provenance.json", "seconds of training, and checksums of the files above", None),
    ("*/report.html", "seconds of training, and checksums of the files above; all else is equal", without_measured),
]


def compare(
    first: Path, second: Path, may_differ: Sequence[Allowance] = MAY_DIFFER
) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """Compare two results folders: (names of identical files, names that differ as they may by reason, all others).

    may_differ : of several that fit a name, the first counts.
    """
    names = {path.relative_to(folder).as_posix() for folder in (first, second) for path in _files(folder)}
    identical, allowed, wrong = [], {}, []
    for name in sorted(names):
        a, b = first / name, second / name
        if not (a.is_file() and b.is_file()):
            wrong.append(f"{name} (in one of them only)")
        elif a.read_bytes() == b.read_bytes():
            identical.append(name)
        else:
            reason, read = next(((why, read) for glob, why, read in may_differ if fnmatch(name, glob)), (None, None))
            if reason is None or (read is not None and read(a) != read(b)):
                wrong.append(name)
            else:
                allowed.setdefault(reason, []).append(name)
    return identical, allowed, wrong


def _files(folder: Path) -> list[Path]:
    # A record names the key of a result, which stands for code and inputs, not its content.
    return [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]


def run_study(
    folder: Path,
    configfile: Path,
    profile: str,
    *options: str,
    targets: Sequence[str] = ("study",),
    project: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a study of a checkout with `folder` as working directory and a profile; what it says is in snakemake.log."""
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(project / "Snakefile")]
    command += ["--directory", str(folder), "--workflow-profile", str(project / "profiles" / profile)]
    command += ["--configfile", str(configfile), *options]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "snakemake.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True, env=environment)


def main() -> int:
    """Print what was found; the exit status is 1 if anything differs that may not."""
    parser = argparse.ArgumentParser(
        prog="verify_reproducibility.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", type=Path, default=ROOT / "config/tiny.yaml", help="study to run")
    parser.add_argument("--cores", type=int, nargs=2, default=[1, 2], help="cores of the two runs (default: 1 2)")
    parser.add_argument("--slurm", action="store_true", help="make the second run through SLURM, with profiles/slurm")
    parser.add_argument("--folder", type=Path, help="where to run, on disks that all nodes see (default: temporary)")
    parser.add_argument("options", nargs="*", help="of snakemake, for the second run")
    arguments = parser.parse_args()
    runs = [("default", ["--cores", str(cores)]) for cores in arguments.cores]
    if arguments.slurm:
        runs[1] = ("slurm", [])
    runs[1][1].extend(arguments.options)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folders = [Path(temporary, name) for name in ("first", "second")]
        for folder, (profile, options) in zip(folders, runs, strict=True):
            print(f"running {arguments.configfile.name}: {' '.join([f'profiles/{profile}', *options])} ...", flush=True)
            try:
                run_study(folder, arguments.configfile.resolve(), profile, *options)
            except subprocess.CalledProcessError:
                print((folder / "snakemake.log").read_text()[-5000:], file=sys.stderr)
                return 1
        identical, allowed, wrong = compare(*(folder / "results" for folder in folders))
    print("files that may differ:")
    for reason, names in allowed.items():
        print(f"  {len(names):3}  {reason}")
    for name in wrong:
        print(f"DIFFERS: {name}")
    total = sum(map(len, allowed.values()))
    print(f"{len(identical)} files are identical, {total} differ as they may, {len(wrong)} differ that may not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
