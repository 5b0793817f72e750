"""A real SLURM on this machine, a small study run without it, and scenarios in which it runs there and is disturbed.

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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

AT_ONCE = 6

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")

STUDY = {
    "datasets": [
        {
            "name": "tiny",
            "source": {"layout": "simulated", "fields_per_cell_line": 3, "height": 72, "width": 90, "seed": 5},
            "modalities": ["fluorescence"],
            "mask": {"kind": "three_class", "border_as": "background"},
            "split": [7, 7, 7],
        }
    ],
    "models": [{"name": "turning", "preset": "simplified-p4", "widths": [4, 8, 8]}],
    "seeds": [0],
    "training": {
        "epochs": 12,
        "crop": 64,
        "batch_size": 2,
        "learning_rate": 0.005,
        "device": "cpu",
        "torch_threads": 1,
    },
    "evaluation": {"mirrored": False, "inference": ["deployed"], "examples": 1},
}
RUN = "results/tiny/models/turning/fluorescence/seed0"
WEIGHTS = f"{RUN}/weights.safetensors"
LOG = "results/logs/train_model/tiny/turning_fluorescence_seed0.log"


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "scenario(play): what happens on the cluster before the test")


def slurm(*command: str) -> str:
    """Output of a command of SLURM."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_for(found: Callable, what: str, seconds: float = 1500):
    """What `found` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"{what}: not seen within {seconds} s"
        time.sleep(0.01)
    return result


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
        subprocess.run([HERE / "stop_slurm.sh", folder], check=True)


class Controller:
    """A snakemake that submits the jobs of the small study to the cluster, from a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, study: dict = STUDY) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        self.command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
        self.command += ["--workflow-profile", ROOT / "profiles/slurm", "--configfile", folder / "study.yaml"]
        # A look every second at first: these jobs take seconds.
        self.command += ["--slurm-init-seconds-before-status-checks", "1", *arguments]
        self.process: subprocess.Popen | None = None

    def start(self, *arguments: str) -> "Controller":
        # What is started from the background of a shell ignores SIGINT.
        with (self.folder / "snakemake.log").open("a") as log:
            self.process = subprocess.Popen(
                ["env", "--default-signal=INT", *self.command, *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def wait(self, seconds: float = 1500) -> int:
        return self.process.wait(seconds)

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
        """The training of a SLURM job, stopped in its course once it has a checkpoint."""

        def found():
            for record in self.folder.glob(f"{RUN}/.checkpoint.work-*/owner-*"):
                folder = record.with_name(record.name.removeprefix("owner-"))
                try:
                    owner = json.loads(record.read_text())
                except (OSError, ValueError):
                    continue
                if owner["job"] == job and (folder / "training.ckpt").is_file():
                    os.kill(owner["process"], signal.SIGSTOP)
                    return Training(owner["process"], record)
            return None

        return wait_for(found, f"{self.folder.name}: the training of job {job} has a checkpoint")

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

    def beat(self) -> None:
        """Keep its heart beating while it is stopped."""
        self.record.touch()

    def go_on(self) -> None:
        os.kill(self.process, signal.SIGCONT)

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

    def trainer(self, name: str, *arguments: str) -> Controller:
        """A controller of the training alone, in a folder of the given name; its data set is the undisturbed one's."""
        ignored = shutil.ignore_patterns("models", "tables", "figures", "otsu")
        shutil.copytree(self.undisturbed / "results/tiny", self.folder / name / "results/tiny", ignore=ignored)
        return Controller(self.folder / name, WEIGHTS, *arguments)


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
