"""Where faults hit: a tiny study, and the plates of an inbox. Each knows its command, its end and its results."""

import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar

import pandas as pd
import yaml

from equinuclei.simulation.plates import simulate_plate
from scripts.verify_reproducibility import MAY_DIFFER, Allowance, compare, without_times
from tests.support.one_training import study_of

from .machine import Machine

ROOT = Path(__file__).parents[2]
LONG_AGO = 1_700_000_000
"""Time of the files of an inbox, in seconds: the same in every scene."""

DISK = 200
"""Megabytes of the disk that results lie on, where one can be mounted."""

LITTER = (".*.new-*", ".*.work-*", "owner-*", ".snakemake_timestamp")
"""Names of what a killed job may leave behind, hidden beside its results."""


def copy_project(folder: Path) -> Path:
    """A copy of what a run needs of this checkout: it stays as it is however long the campaign takes."""
    for name in ("Snakefile", "equinuclei", "scripts", "workflow", "config", "profiles", "envs"):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, folder)
        else:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Scene(ABC):
    """A folder in which a command is called again and again, until its results are complete.

    The folder has the same path in every run, as records name paths. Its results lie on a disk of their own if this
    process may mount one.
    """

    what = ""
    results_name = "results"
    allowances: ClassVar[list[Allowance]] = MAY_DIFFER
    patience = 60.0
    """Seconds without a sign of life, after which a call counts as hanging."""

    longest = 300.0
    """Seconds that one call may take."""

    cores = 2

    quiet_calls = 2
    """Calls without any fault after which a scene that is not finished needs a person."""

    def __init__(self, folder: Path, machine: Machine, inputs: Path) -> None:
        self.folder, self.machine, self.inputs = folder, machine, inputs
        self.project, self.log = folder / "project", folder / "said.log"
        self.results = folder / self.results_name
        self.mounted = False

    def prepare(self) -> None:
        """Begin anew, with the inputs and nothing else."""
        self.clear()
        self.project.mkdir(parents=True)
        copy_project(self.project)
        self.results.mkdir()
        self.set_up()
        self.mounted = mount(self.results, DISK)

    @abstractmethod
    def set_up(self) -> None:
        """The inputs."""

    @abstractmethod
    def command(self) -> tuple[list[str], Path]:
        """What a person calls, and where."""

    @abstractmethod
    def is_finished(self, status: int) -> bool:
        """Whether a call, which ended with this exit status, has left all results."""

    def clear(self) -> None:
        self.machine.kill_all()
        while unmount(self.results):
            pass
        for path in self.folder.glob("*"):
            while unmount(path):
                pass
        subprocess.run(["chmod", "-R", "u+rwX", str(self.folder)], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, log: Path | None = None) -> subprocess.Popen:
        """Call the command; what it says is added to the log."""
        command, folder = self.command()
        with (log or self.log).open("a") as said:
            return self.machine.start(command, folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def said(self) -> str:
        with suppress(OSError):
            return self.log.read_text(errors="replace")
        return ""

    def told(self, since: int) -> str:
        """What a person sees who looks: the output of the last call from a place in the log on."""
        return self.said()[since:]

    def differences(self, reference: Path) -> tuple[list[str], list[str]]:
        """Files that differ from those of an undisturbed run though they may not, and litter of killed jobs."""
        *_, wrong = compare(self.results, reference, self.allowances)
        litter = [name for name in wrong if any(is_like(part, LITTER) for part in name.split(" (")[0].split("/"))]
        notes = [name for name in wrong if name.startswith(("logs/", "benchmarks/"))]
        return sorted(set(wrong) - set(litter) - set(notes)), litter

    def heed(self) -> list[str]:
        """Do what a person is told while the command runs, once each; the messages."""
        return []

    def remedies(self) -> list[tuple[str, Callable[[], None]]]:
        """What a person can do who does what messages say: the message, and the deed."""
        return []


class Study(Scene):
    """A study of one small network on simulated images: 15 jobs."""

    what = "study"
    goal, target = "study", "results/tiny/report.html"
    """What snakemake is asked for, and a file that is there when it has made it."""

    epochs = 12

    def set_up(self) -> None:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study_of(self.epochs)))

    def command(self) -> tuple[list[str], Path]:
        unlock, profile = self.project / "scripts/unlock.sh", self.project / "profiles/default"
        options = f"--configfile {self.folder}/study.yaml --workflow-profile {profile} --cores {self.cores}"
        # As docs/faults.md says: unlock.sh where snakemake was killed.
        call = f"{unlock} {options} && exec snakemake {self.goal} --snakefile {self.project}/Snakefile {options}"
        return ["bash", "-c", call], self.folder

    def is_finished(self, status: int) -> bool:
        return status == 0 and (self.folder / self.target).is_file()


def without_content(path: Path) -> str:
    """A record or table of plates without what depends on the times of input files."""
    if path.suffix == ".tsv":
        return pd.read_csv(path, sep="\t", dtype=str).drop(columns=["content"]).to_csv()
    return without_times(path, frozenset({"content", "key"}))


class Plates(Scene):
    """Two plates in an inbox, and ticks of `autorun.sh` until both are done."""

    what = "plates"
    results_name = "plates"
    names: tuple[str, ...] = ("P1", "P2")
    quiet_calls = 3
    allowances: ClassVar[list[Allowance]] = [
        ("logs/*", "times of day", None),
        ("benchmarks/*", "measured time and memory", None),
        ("*.snakemake_timestamp", "time of day", None),
        ("manifests/*.json", "content: times of the input files", without_content),
        ("scan.tsv", "content: times of the input files", without_content),
        ("*/zarr.json", "key: times of the input files", without_content),
    ]

    def __init__(self, folder: Path, machine: Machine, inputs: Path) -> None:
        super().__init__(folder, machine, inputs)
        self.inbox, self.models = folder / "inbox", folder / "models"
        self.weights = self.models / "turning-v1/weights.safetensors"

    def set_up(self) -> None:
        for number, name in enumerate(self.names):
            simulate_plate(
                self.inbox / name, self.folder / "truth" / name, barcode=name, wells=["A01", "B02", "C03"], fields=4,
                size=64, seed=number,
            )  # fmt: skip
        make_old(self.inbox)
        self.weights.parent.mkdir(parents=True)
        shutil.copy(self.inputs, self.weights)
        settings = {"inbox": str(self.inbox), "results": str(self.results), "models": str(self.models)}
        settings |= {"channel": "dapi", "model": "turning-v1", "device": "cpu", "threads": 1, "tile": 256}
        settings |= {"quiet_minutes": 0.02}
        (self.folder / "lab.yaml").write_text(yaml.safe_dump({"plates": settings}))

    def command(self) -> tuple[list[str], Path]:
        options = ["--configfile", "lab.yaml", "--cores", str(self.cores)]
        return [str(self.project / "scripts/autorun.sh"), *options], self.folder

    def is_finished(self, status: int) -> bool:
        lines = self.said().splitlines()
        last = f"done {len(self.names)}, failed 0, waiting 0, excluded 0: "
        return status == 0 and bool(lines) and lines[-1].startswith(last)

    def told(self, since: int) -> str:
        files = [self.results / "scan.tsv", *self.results.glob("failed/*.json"), *self.results.glob("plates.*")]
        texts = []
        for path in files:
            with suppress(OSError):
                texts.append(path.read_text(errors="replace"))
        return "\n".join([super().told(since), *texts])

    def remedies(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            (f"failed/{mark.name} (remove it to try again)", mark.unlink) for mark in self.results.glob("failed/*.json")
        ]


def make_old(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (LONG_AGO, LONG_AGO))


def is_like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def mount(folder: Path, megabytes: int, mode: int = 0o755) -> bool:
    """Mount a small disk over a folder; return whether that is possible."""
    with suppress(OSError):
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode={mode:o}", "campaign", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


def unmount(folder: Path) -> bool:
    """Take away the last disk that was mounted over a folder, also one in use; return whether there was one."""
    if not folder.is_mount():
        return False
    return subprocess.run(["umount", "--lazy", str(folder)], capture_output=True).returncode == 0


def small_weights(folder: Path) -> Path:
    """The weights of a small network, trained once per campaign."""
    path = folder / "weights.safetensors"
    if not path.is_file():
        from tests.support.tiny_model import tiny_weights  # loads torch

        with tempfile.TemporaryDirectory(dir=folder) as new:
            copy = Path(new, path.name)
            shutil.copy(tiny_weights(), copy)
            copy.rename(path)
    return path
