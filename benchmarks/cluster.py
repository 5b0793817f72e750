"""What SLURM costs: the tiny study through the cluster against the same study on this machine, both with as many jobs
side by side, in seconds of the clock and of processors (those of jobs are known where SLURM keeps accounts). Further:
the time to plan it, and the files that Snakemake leaves in `.snakemake`.

    python -m benchmarks.cluster [--jobs 2] [--folder DIR] [-- options of snakemake on the cluster]

Needs a cluster that this machine submits to; `tests/cluster/start_slurm.sh` starts one. DIR must be seen by all nodes.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.verify_reproducibility import ROOT, compare, run_study

FACTOR, SECONDS_PER_JOB = 1.5, 10.0
"""The goal: at most so many times the local run, and so many seconds for every job."""


@dataclass(frozen=True)
class Cost:
    """What a call takes: seconds of the clock, and of processors in the processes that it started on this machine."""

    wall: float
    cpu: float


def cost_of(function: Callable[..., object], *arguments: object) -> Cost:
    """What a call takes."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    function(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(time.monotonic() - start, cpu)


def cpu_of_jobs(log: str) -> float | None:
    """Processor seconds of the jobs of a run, by its log; None where SLURM keeps no account, or none of them."""
    run = re.search(r"SLURM run ID: (\S+)", log)
    assert run is not None, log
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=TotalCPU", f"--name={run[1]}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    times = asked.stdout.split()
    # SLURM may keep accounts and yet count no processor seconds: no job takes none.
    return (sum(map(seconds, times)) or None) if asked.returncode == 0 else None


def seconds(time_of_slurm: str) -> float:
    """Seconds of a time as SLURM writes it: [[days-]hours:]minutes:seconds[.thousandths]."""
    days, _, clock = time_of_slurm.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + float(part)
    return total + 86_400 * int(days or 0)


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
        local = cost_of(run_study, here, configfile, "default", "--cores", str(arguments.jobs))
        slurm = cost_of(run_study, there, configfile, "slurm", "--jobs", str(arguments.jobs), *arguments.options)
        planning = cost_of(plan, here, configfile)
        log = (there / "snakemake.log").read_text()
        jobs = log.count("has been submitted with SLURM jobid")
        in_jobs = cpu_of_jobs(log)
        files = {run.name: sum(path.is_file() for path in (run / ".snakemake").rglob("*")) for run in (here, there)}
        *_, wrong = compare(here / "results", there / "results")
    allowed = FACTOR * local.wall + SECONDS_PER_JOB * jobs
    print(f"local, {arguments.jobs} cores        {local.wall:7.1f} s   {local.cpu:7.1f} CPU seconds")
    print(f"SLURM, {arguments.jobs} jobs at once {slurm.wall:7.1f} s   {jobs} jobs")
    print(f"overhead per job      {(slurm.wall - local.wall) / jobs:7.1f} s")
    if in_jobs is None:
        print("CPU of jobs           unknown: SLURM keeps no account of it here (sacct)")
    else:
        print(f"SLURM                 {slurm.cpu + in_jobs:7.1f} CPU seconds, {slurm.cpu:.1f} of Snakemake itself")
        print(f"overhead per job      {(slurm.cpu + in_jobs - local.cpu) / jobs:7.1f} CPU seconds")
    print(f"goal                  {allowed:7.1f} s   {FACTOR} x local + {SECONDS_PER_JOB:.0f} s per job")
    print(f"planning              {planning.wall:7.1f} s")
    print(f"files in .snakemake   {files['slurm']:7}   local {files['local']}")
    print(f"files that differ     {len(wrong):7}")
    return int(slurm.wall > allowed or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
