"""A training and its scores on the test cluster (`tests/cluster/start_slurm.sh`), and what clusters do to jobs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .faults import Hit, Stage, kind, pick
from .plan import Drawn
from .scenes import ROOT, Study, is_like

CLUSTER = ROOT / "tests/cluster"
TARGET = "results/tiny/models/turning/fluorescence/seed0/scores.parquet"


def slurm(*command: str) -> str:
    """What a command of SLURM says; nothing if the controller does not answer for 10 s."""
    with suppress(subprocess.TimeoutExpired, OSError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    return ""


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """A running cluster. It says why if there can be none, as where another one runs."""
    if subprocess.run([CLUSTER / "start_slurm.sh", folder]).returncode != 0:
        sys.exit("no cluster can be started here; `--where local` needs none")
    try:
        yield
    finally:
        subprocess.run([CLUSTER / "stop_slurm.sh", folder])


class ClusterStudy(Study):
    """The three jobs that train, predict and score; the data set is made before, on this machine."""

    what = "slurm"
    goal = target = TARGET
    patience = 240.0  # SLURM keeps a job that it puts back into its queue there for two minutes
    longest = 900.0
    ready: Path
    """Folder of a data set that is ready."""

    def set_up(self) -> None:
        super().set_up()
        shutil.copytree(self.ready, self.folder / "data", symlinks=True)

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "data").rename(self.folder / "copied")
        shutil.copytree(self.folder / "copied/tiny", self.results / "tiny", symlinks=True)
        shutil.rmtree(self.folder / "copied")

    def command(self) -> tuple[list[str], Path]:
        unlock, profile = self.project / "scripts/unlock.sh", self.project / "profiles/slurm"
        options = f"--configfile {self.folder}/study.yaml --workflow-profile {profile}"
        snakemake = f"{sys.executable} {CLUSTER}/bin/snakemake"  # it looks at its jobs every second
        call = f"{unlock} {options} && exec {snakemake} {self.goal} --snakefile {self.project}/Snakefile {options}"
        return ["bash", "-c", call], self.folder

    def heed(self) -> list[str]:
        told = [line for line in self.said().splitlines() if "waits for a person" in line and line not in self.heeded]
        self.heeded += told
        for line in told:
            slurm("scontrol", "release", re.findall(r"scontrol release (\d+)", line)[0])
        return told

    def clear(self) -> None:
        self.heeded: list[str] = []
        for job in self.jobs("all"):
            slurm("scancel", job)
        until = time.monotonic() + 60
        while self.jobs("all") and time.monotonic() < until:
            time.sleep(0.5)
        super().clear()

    def jobs(self, states: str) -> list[str]:
        """SLURM's numbers of this scene's jobs that are not over, in these states."""
        lines = slurm("squeue", "--noheader", f"--states={states}", "--format=%i|%T|%Z").splitlines()
        over = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
        parts = [line.split("|") for line in lines if line.count("|") == 2]
        return [job for job, state, folder in parts if folder == str(self.folder) and not is_like(state, over)]


def prepare_data(study: Study, folder: Path) -> Path:
    """The folder of an undisturbed local run, without what the jobs on the cluster make."""
    from .play import Run

    finished, _ = Run(study, []).play()
    if not finished:
        sys.exit("the study cannot be prepared")
    ignored = shutil.ignore_patterns("models", "tables", "figures", "otsu", "report*", "logs", "benchmarks")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(study.results, folder, symlinks=True, ignore=ignored)
    study.clear()
    return folder


def _running(stage: Stage, drawn: Drawn) -> str | None:
    assert isinstance(stage.scene, ClusterStudy)
    return pick(stage.scene.jobs("running"), drawn.choice)


@kind("scancel", scenes=("slurm",))
def cancel(stage: Stage, drawn: Drawn) -> Hit | None:
    if (job := _running(stage, drawn)) is None:
        return None
    slurm("scancel", job)
    return Hit(f"job {job}")


SETTLED = 35.0
"""Seconds until what ran of a requeued job has ended on its node. Started there before, the job fails, and is held."""


def _start_now(job: str) -> None:
    """Spare a job that was put back into the queue the two minutes that it lies there."""
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")


@kind("scontrol requeue", scenes=("slurm",))
def requeue(stage: Stage, drawn: Drawn) -> Hit | None:
    if (job := _running(stage, drawn)) is None:
        return None
    slurm("scontrol", "requeue", job)
    return Hit(f"job {job}", lambda: _start_now(job), SETTLED)


@kind("a node is down", scenes=("slurm",))
def node_down(stage: Stage, drawn: Drawn) -> Hit | None:
    if (job := _running(stage, drawn)) is None:
        return None
    node = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%N")
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=a fault")

    def resume() -> None:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
        _start_now(job)

    return Hit(f"{node}, job {job}", resume, SETTLED)


@kind("slurmctld is away for 40 s", scenes=("slurm",))
def controller_away(stage: Stage, drawn: Drawn) -> Hit | None:
    number = _controller()
    if number is None:
        return None
    if drawn.at_stop:
        os.kill(number, signal.SIGSTOP)
        return Hit("it stands still", lambda: os.kill(number, signal.SIGCONT), 40)
    os.kill(number, signal.SIGKILL)
    return Hit("it is killed, and started again", lambda: subprocess.run(["slurmctld"]) and None, 40)


def _controller() -> int | None:
    with suppress(OSError, ValueError):
        return int((Path("/etc/slurm/slurm.conf").resolve().parents[1] / "run/slurmctld.pid").read_text())
    return None


@kind("the time limit of a job", scenes=("slurm",))
def time_limit(stage: Stage, drawn: Drawn) -> Hit | None:
    if (job := _running(stage, drawn)) is None:
        return None
    slurm("scontrol", "update", f"jobid={job}", "TimeLimit=1")
    for process in stage.scene.machine.jobs():  # it stands still until the minute is over
        stage.held.add(process.number)
        stage.scene.machine.signal(signal.SIGSTOP, [process])
    held = set(stage.held)

    def wake() -> None:
        stage.held -= held
        for number in held:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGCONT)

    return Hit(f"job {job}", wake, 100)
