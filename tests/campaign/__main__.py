"""Hit runs with faults drawn at random, and compare what is left with an undisturbed run.

    python -m tests.campaign --faults 200 --seed 1

Called again with the same folder, it goes on. The exit status is 1 if any run was wrong or silent.
"""

import argparse
import fcntl
import json
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from equinuclei.checksums import digest, sha256

from .cluster import ClusterStudy, cluster, prepare_data
from .faults import KINDS
from .machine import Machine, bound_by_permissions
from .plan import FAULTS_PER_RUN, draw
from .play import SILENT, WRONG, Result, Run, play
from .scenes import ROOT, Plates, Scene, Study, mount, small_weights, unmount
from .table import table, wrongs

SCENES: dict[str, type[Scene]] = {"study": Study, "plates": Plates, "slurm": ClusterStudy}


class Campaign:
    """Runs in a folder, some at a time, until so many faults have hit."""

    def __init__(self, folder: Path, seed: int, faults: int, what: Sequence[str]) -> None:
        self.folder, self.seed, self.faults, self.what = folder, seed, faults, what
        self.runs = folder / "runs"
        self.runs.mkdir(parents=True, exist_ok=True)
        self.disks = self._may_mount()
        self.results = {result.run: result for result in self._finished()}
        self.under_way: set[int] = set()
        self.machines: list[Machine] = []
        self.is_broken = False
        self.lock = threading.Condition()

    def _may_mount(self) -> bool:
        tried = self.folder / "disk"
        tried.mkdir(exist_ok=True)
        return mount(tried, 1) and unmount(tried)

    def _finished(self) -> list[Result]:
        return [Result(**json.loads(path.read_text())) for path in sorted(self.runs.glob("*/result.json"))]

    def kinds(self, what: str) -> list[str]:
        """The kinds that fit a scene, and this machine."""
        if what == "slurm":  # SLURM's jobs are root's, whom no permission binds
            fit = [kind for kind in KINDS.values() if {"slurm", "study"} & set(kind.scenes)]
            return sorted(kind.name for kind in fit if kind.needs not in ("user", "tables"))
        may = {"disk": self.disks, "user": bound_by_permissions() is not None}
        able = {"", "tables", *(need for need, met in may.items() if met)}
        return sorted(name for name, kind in KINDS.items() if what in kind.scenes and kind.needs in able)

    def hits(self) -> int:
        return sum(len(result.faults) for result in self.results.values())

    def next_run(self) -> int | None:
        """Number of the next run; None when enough faults have hit. Waits while runs under way may be enough."""
        with self.lock:
            while True:
                if self.is_broken or self.hits() >= self.faults:
                    return None
                if self.hits() + len(self.under_way) * FAULTS_PER_RUN < self.faults or not self.under_way:
                    break
                self.lock.wait()
            number = next(n for n in range(10**6) if n not in self.results and n not in self.under_way)
            self.under_way.add(number)
            return number

    def run(self, at_once: int) -> None:
        """Play runs, some at the same time."""
        slots = [threading.Thread(target=self.work, args=(slot,), daemon=True) for slot in range(at_once)]
        for slot in slots:
            slot.start()
        try:
            for slot in slots:
                slot.join()
        except KeyboardInterrupt:
            self.is_broken = True
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            print("interrupted: called again, the campaign goes on", flush=True)
        for machine in self.machines:
            machine.close()

    def work(self, slot: int) -> None:
        """Play runs in a folder of this slot, whose paths are those of its undisturbed runs."""
        place = self.folder / f"slot{slot}"
        machine = Machine(place / "home", is_cluster="slurm" in self.what, EQUINUCLEI_STOP_AT="*")
        self.machines.append(machine)
        references: dict[str, Path] = {}
        while (number := self.next_run()) is not None:
            try:
                self._play(number, place, machine, references)
            except InterruptedError:
                pass
            except BaseException:
                traceback.print_exc()
                self.is_broken = True
            with self.lock:
                self.under_way.remove(number)
                self.lock.notify_all()

    def _play(self, number: int, place: Path, machine: Machine, references: dict[str, Path]) -> None:
        what = self.what[number % len(self.what)]
        scene = SCENES[what](place / "scene", machine, self.folder / "weights.safetensors")
        if what not in references:
            references[what] = undisturbed(scene, place / f"undisturbed-{what}")
        size = min(FAULTS_PER_RUN, self.faults)
        plan = draw(self.seed, what, number // len(self.what), self.kinds(what), size)
        result = play(scene, references[what], plan, number, self.runs / f"{number:03}")
        with self.lock:
            self.results[number] = result
            told = f"run {number:3} {what:6}: {result.outcome}; {len(result.faults)} faults, {result.calls} calls, "
            print(f"{told}{result.seconds:.0f} s; {self.hits()} of {self.faults}", flush=True)


def ready(folder: Path) -> Path:
    """A folder with the data set of the study, as a run on this machine makes it."""
    machine = Machine(folder / "ready/home", EQUINUCLEI_STOP_AT="*")
    try:
        return prepare_data(Study(folder / "ready/scene", machine, folder), folder / "ready/data")
    finally:
        machine.close()


def undisturbed(scene: Scene, folder: Path) -> Path:
    """The results of a run without faults. Made anew by every call of the campaign."""
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(scene, [])
    finished, remedies = run.play()
    if not finished or remedies:
        sys.exit(f"an undisturbed run of the {scene.what} does not end well:\n{run.state()}")
    shutil.copytree(scene.results, folder, symlinks=True)
    scene.clear()
    return folder


def is_the_same(folder: Path, campaign: dict[str, object]) -> bool:
    """Whether the folder is new, or holds the beginning of this very campaign, with the same code."""
    paths = sorted(path for name in ("equinuclei", "workflow", "scripts") for path in (ROOT / name).rglob("*.py"))
    text = json.dumps(campaign | {"code": digest([sha256(path) for path in paths])}, indent=1)
    record = folder / "campaign.json"
    if not record.is_file():
        record.write_text(text)
    return record.read_text() == text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=200, help="that hit, in all (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the plan (default: 1)")
    parser.add_argument("--where", choices=["local", "slurm"], default="local")
    parser.add_argument("--what", choices=["study", "plates", "both"], default="both")
    parser.add_argument("--at-once", type=int, default=2, help="runs at the same time (default: 2)")
    parser.add_argument("--folder", type=Path, help="where to work (default: in results/campaign)")
    arguments = parser.parse_args()
    what = ["study", "plates"] if arguments.what == "both" else [arguments.what]
    if arguments.where == "slurm":
        what = ["slurm"]
    name = f"{arguments.where}-{arguments.what}-seed{arguments.seed}"
    folder = (arguments.folder or ROOT / "results/campaign" / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{folder}: another campaign works there")
    if not is_the_same(folder, {"seed": arguments.seed, "what": what}):
        sys.exit(f"{folder} holds a campaign of another seed, scene or code: delete it, or give another --folder")
    campaign = Campaign(folder, arguments.seed, arguments.faults, what)
    if arguments.where == "slurm":
        with cluster(folder / "cluster"):
            ClusterStudy.ready = ready(folder)
            campaign.run(arguments.at_once)
    else:
        small_weights(folder)
        campaign.run(arguments.at_once)
    if campaign.is_broken:
        return 2
    results = [campaign.results[number] for number in sorted(campaign.results)]
    print("\n".join(["", wrongs(results, folder), "", table(results)]))
    return 1 if any(result.outcome in (WRONG, SILENT) for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
