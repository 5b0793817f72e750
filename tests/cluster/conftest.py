"""A real SLURM on this machine, a small study run without it, and scenarios in which it runs there and is disturbed.

Scenarios wait for states, never for seconds: a job that is to be disturbed stops itself at a point of its work
(`job.stop_for_a_test`), so that it is still there however busy the machine is.

Scenarios are played beside each other, as most of their time is waiting. A test names its own by the marker `scenario`
and gets what that returned as `outcome`; those of selected tests alone are played.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from support.one_training import study_of

AT_ONCE = 6
PATIENCE = 300.0
"""Seconds without any sign of life after which an event that is waited for counts as lost."""

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")

STUDY = study_of(epochs=12)
RUN = "results/tiny/models/turning/fluorescence/seed0"
WEIGHTS = f"{RUN}/weights.safetensors"
LOG = "results/logs/train_model/tiny/turning_fluorescence_seed0.log"
STOP = "epoch 2"
"""Where a training stops itself that is to be disturbed once. When it is resumed it has that behind it."""
STOPS = ",".join(f"epoch {number}" for number in range(2, 12))
"""Where one does that is to be disturbed more often. SLURM wakes a job before it ends it: it may get further."""


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "scenario(play): what happens on the cluster before the test")


def slurm(*command: str) -> str:
    """Output of a command of SLURM."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_for(found: Callable, what: str):
    """What `found` returns as soon as that is true. What cluster and controllers say is told if nothing happens."""
    seen, since = signs_of_life(), time.monotonic()
    while not (result := found()):
        if time.monotonic() > since + PATIENCE:
            before, seen, since = seen, signs_of_life(), time.monotonic()
            assert seen != before, f"{what}: nothing happens for {PATIENCE:.0f} s\n{news()}"
        time.sleep(0.1)
    return result


def signs_of_life() -> tuple[str, list[int]]:
    """What changes while anything happens on the cluster: the queue, and the sizes of logs."""
    queue = subprocess.run(["squeue", "--states=all", "--format=%i %T"], capture_output=True, text=True).stdout
    return queue, [log.stat().st_size for log in logs() if log.exists()]


def logs() -> list[Path]:
    """What controllers and jobs said so far."""
    controllers = [controller.folder / "snakemake.log" for controller in Controller.started]
    return controllers + [log for controller in Controller.started for log in controller.job_logs()]


def news() -> str:
    """The queue, the nodes, and the ends of all logs: for a person who wants to know why nothing happens."""
    queue = ["squeue", "--states=all", "--format=%i %T %N %r %k %Z"]
    told = [subprocess.run(command, capture_output=True, text=True).stdout for command in (queue, ["sinfo", "-N"])]
    files = logs()
    with suppress(OSError):
        files += sorted((Path("/etc/slurm/slurm.conf").resolve().parents[1] / "log").glob("slurm*.log"))
    for log in files:
        with suppress(OSError):
            told.append(f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]))
    return "\n".join(told)


def state_of(process: int) -> str:
    """Letter of a process's state (T: stopped, Z: ended, and nobody took note), empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def stopped(job: str | None = None) -> Iterator[tuple[int, str, Path]]:
    """Processes of SLURM jobs that stopped themselves: number, job and working directory."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if state_of(int(folder.name)) == "T":
                variables = dict(
                    word.split("=", 1) for word in (folder / "environ").read_text().split("\0") if "=" in word
                )
                found = variables.get("SLURM_JOB_ID")
                if "EQUINUCLEI_STOP_AT" in variables and found is not None and job in (None, found):
                    yield int(folder.name), found, (folder / "cwd").readlink()


def words_of(process: int) -> list[str]:
    """The command of a process."""
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")[:-1]


def missing() -> str | None:
    """Why there can be no cluster on this machine."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if absent:
        packages = "slurm-wlm slurmdbd slurm-client munge mariadb-server"
        return f"{', '.join(absent)} not installed (Debian packages: {packages})"
    return None if os.geteuid() == 0 else "only root can start a SLURM cluster"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """Folder of a running cluster with accounting; `start_slurm.sh` tells its nodes and partitions."""
    if reason := missing():
        if os.environ.get("EQUINUCLEI_REQUIRE_CLUSTER") == "1":
            pytest.fail(f"EQUINUCLEI_REQUIRE_CLUSTER is set, but {reason}")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="equinuclei-slurm-"))
    folder.chmod(0o755)  # the database runs as a user of its own
    try:
        subprocess.run([HERE / "start_slurm.sh", folder], check=True)
        yield folder
    finally:
        for controller in Controller.started:
            controller.process.kill()
        subprocess.run([HERE / "stop_slurm.sh", folder], check=True)


class Controller:
    """A snakemake that submits the jobs of the small study to the cluster, from a folder of its own.

    stop_at : point of their work at which its jobs stop themselves
    """

    started: ClassVar[list["Controller"]] = []

    def __init__(self, folder: Path, *arguments: str, stop_at: str | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        self.command = [sys.executable, HERE / "bin/snakemake", "--snakefile", ROOT / "Snakefile"]
        self.command += ["--directory", folder, "--configfile", folder / "study.yaml"]
        self.command += ["--workflow-profile", ROOT / "profiles/slurm", *arguments]
        self.environment = os.environ | ({} if stop_at is None else {"EQUINUCLEI_STOP_AT": stop_at})
        self.process: subprocess.Popen | None = None

    def start(self, *arguments: str, **variables: str) -> "Controller":
        # What is started from the background of a shell ignores SIGINT.
        with (self.folder / "snakemake.log").open("a") as log:
            self.process = subprocess.Popen(
                ["env", "--default-signal=INT", *self.command, *arguments],
                cwd=self.folder,
                env=self.environment | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started.append(self)
        return self

    def wait(self) -> int:
        """Exit status, once it has ended."""
        wait_for(lambda: self.process.poll() is not None, f"{self.folder.name}: its snakemake ends")
        return self.process.returncode

    def finish(self, *arguments: str) -> "Controller":
        """Run to the end, which must be a good one."""
        assert self.start(*arguments).wait() == 0, self.said
        return self

    def kill(self) -> None:
        """As the kernel would: nothing of it can react."""
        self.process.kill()
        self.process.wait()

    @property
    def said(self) -> str:
        return (self.folder / "snakemake.log").read_text()

    def jobs(self, states: str = "all") -> list[dict[str, str]]:
        """SLURM's jobs of this controller, in the order of submission."""
        lines = slurm("squeue", "--states", states, "--noheader", "--format=%i|%T|%N|%k|%j|%Z").splitlines()
        keys = ("id", "state", "node", "comment", "name", "folder")
        found = [dict(zip(keys, line.split("|"), strict=True)) for line in lines]
        return sorted((job for job in found if job["folder"] == str(self.folder)), key=lambda job: int(job["id"]))

    def running(self, number: int = 1) -> dict[str, str]:
        """The `number`-th job, once it runs."""

        def found():
            jobs = self.jobs()
            return jobs[number - 1] if len(jobs) >= number and jobs[number - 1]["state"] == "RUNNING" else None

        return wait_for(found, f"{self.folder.name}: job {number} runs")

    def training(self, job: str) -> "Training":
        """The training of a SLURM job, once it has stopped itself."""
        return wait_for(lambda: self.stopped_training(job), f"{self.folder.name}: the training of job {job} stops")

    def stopped_training(self, job: str) -> "Training | None":
        for process, _, _ in stopped(job):
            for record in self.folder.glob(f"{RUN}/.checkpoint.work-*/owner-*"):
                with suppress(OSError, ValueError):
                    if json.loads(record.read_text())["process"] == process:
                        return Training(process, record)
        return None

    def job_logs(self) -> list[Path]:
        """What its jobs said, the last one last."""
        return sorted(self.folder.glob(".snakemake/slurm_logs/**/*.log"), key=lambda path: path.stat().st_mtime)

    @property
    def log(self) -> str:
        """The log of the training that began last, empty while the next one begins."""
        with suppress(FileNotFoundError):
            return (self.folder / LOG).read_text()
        return ""


class Training:
    """A process that trains."""

    def __init__(self, process: int, record: Path) -> None:
        self.process, self.record = process, record

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Keep its heart beating while it is stopped."""
        end = threading.Event()

        def beat() -> None:
            while not end.wait(1):
                self.record.touch()

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def snakemake(self) -> int:
        """The snakemake inside the job that started it, and that looks at its outputs when it has ended."""
        process = self.process
        while "--target-jobs" not in words_of(process):
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        return process

    def has_ended(self) -> bool:
        return state_of(self.process) in ("", "Z")

    def go_on(self) -> None:
        os.kill(self.process, signal.SIGCONT)

    def go_on_to_the_end(self) -> None:
        """Past all points at which it stops itself."""

        def ends() -> bool:
            with suppress(ProcessLookupError):
                self.go_on()
            return self.has_ended()

        wait_for(ends, "the training ends")

    def was_sent(self, number: signal.Signals) -> bool:
        """Whether a signal waits to be seen."""
        status = Path(f"/proc/{self.process}/status").read_text()
        pending = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
        return any(int(mask, 16) >> (number - 1) & 1 for mask in pending)


def allocation(job: str) -> dict[str, str]:
    """What SLURM gave a job."""
    return dict(entry.split("=", 1) for entry in slurm("scontrol", "show", "job", job).split() if "=" in entry)


@pytest.fixture(scope="session")
def undisturbed(cluster, tmp_path_factory) -> Path:
    """Folder of the small study, run on this machine without SLURM."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "snakemake", "study", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--workflow-profile", ROOT / "profiles/default", "--configfile", folder / "study.yaml", "--cores", "2"]
    run = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.returncode == 0, run.stdout
    return folder


@dataclass(frozen=True)
class Scene:
    """Where a scenario is played."""

    cluster: Path
    undisturbed: Path
    folder: Path

    def trainer(self, name: str, *arguments: str, stop_at: str | None = STOP) -> Controller:
        """A controller of the training alone, in a folder of the given name; its data set is the undisturbed one's."""
        ignored = shutil.ignore_patterns("models", "tables", "figures", "otsu")
        shutil.copytree(self.undisturbed / "results/tiny", self.folder / name / "results/tiny", ignore=ignored)
        return Controller(self.folder / name, WEIGHTS, *arguments, stop_at=stop_at)


@pytest.fixture(scope="session")
def scene(cluster, undisturbed, tmp_path_factory) -> Scene:
    return Scene(cluster, undisturbed, tmp_path_factory.mktemp("disturbed"))


@pytest.fixture(scope="session")
def played(request, scene) -> Iterator[dict[Callable, Future]]:
    """The scenarios of all selected tests, under way: what each returns."""
    markers = [item.get_closest_marker("scenario") for item in request.session.items]
    scenarios = dict.fromkeys(marker.kwargs["play"] for marker in markers if marker is not None)
    pool = ThreadPoolExecutor(AT_ONCE)
    yield {scenario: pool.submit(scenario, scene) for scenario in scenarios}
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def outcome(request, played) -> object:
    """What the scenario of the test returned."""
    return played[request.node.get_closest_marker("scenario").kwargs["play"]].result()
