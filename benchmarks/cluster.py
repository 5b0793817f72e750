"""What SLURM costs: the tiny study through the cluster against the same study on this machine, both with as many jobs
side by side. Further: the time to plan it, and the files that Snakemake leaves in `.snakemake`.

    python -m benchmarks.cluster [--jobs 2] [--folder DIR] [-- options of snakemake on the cluster]

Needs a cluster that this machine submits to; `tests/cluster/start_slurm.sh` starts one. DIR must be seen by all nodes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.verify_reproducibility import ROOT, compare, run_study

FACTOR, SECONDS_PER_JOB = 1.5, 10.0
"""The goal: at most so many times the local run, and so many seconds for every job."""


def timed(function, *arguments) -> float:
    """Seconds that a call takes."""
    start = time.monotonic()
    function(*arguments)
    return time.monotonic() - start


def plan(folder: Path, configfile: Path) -> None:
    """Plan the study without running it."""
    command = [sys.executable, "-m", "snakemake", "study", "--dry-run", "--quiet", "all"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--workflow-profile", str(ROOT / "profiles/default"), "--configfile", str(configfile)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    """Print the figures; the exit status is 1 where the goal is missed or the results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=ROOT / "config/tiny.yaml", help="study to run")
    parser.add_argument("--jobs", type=int, default=2, help="jobs side by side, here and there")
    parser.add_argument("--folder", type=Path, help="where to run (default: temporary)")
    parser.add_argument("options", nargs="*", help="of snakemake on the cluster")
    arguments = parser.parse_args()
    configfile = arguments.configfile.resolve()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        here, there = Path(temporary, "local"), Path(temporary, "slurm")
        local = timed(run_study, here, configfile, "default", "--cores", str(arguments.jobs))
        slurm = timed(run_study, there, configfile, "slurm", "--jobs", str(arguments.jobs), *arguments.options)
        planning = timed(plan, here, configfile)
        jobs = (there / "snakemake.log").read_text().count("has been submitted with SLURM jobid")
        files = sum(path.is_file() for path in (there / ".snakemake").rglob("*"))
        *_, wrong = compare(here / "results", there / "results")
    allowed = FACTOR * local + SECONDS_PER_JOB * jobs
    print(f"local, {arguments.jobs} cores        {local:7.1f} s")
    print(f"SLURM, {arguments.jobs} jobs at once {slurm:7.1f} s   {jobs} jobs")
    print(f"overhead per job      {(slurm - local) / jobs:7.1f} s")
    print(f"goal                  {allowed:7.1f} s   {FACTOR} x local + {SECONDS_PER_JOB:.0f} s per job")
    print(f"planning              {planning:7.1f} s")
    print(f"files in .snakemake   {files:7}")
    print(f"files that differ     {len(wrong):7}")
    return int(slurm > allowed or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
