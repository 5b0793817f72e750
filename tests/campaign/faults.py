"""The kinds of fault. Each hits something that is there at that moment, and says what it hit."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .machine import Process
from .plan import Drawn
from .scenes import Plates, Scene, is_like, mount, unmount

HOUR = 3600.0


@dataclass
class Stage:
    """A scene at this moment. victim : the job that stands still at the end of a unit. held : stopped by a fault."""

    scene: Scene
    victim: Process | None = None
    held: set[int] = field(default_factory=set)
    second: subprocess.Popen | None = None


@dataclass
class Hit:
    """What a fault did.

    what : in words, with the path or process. end : undoes a fault that passes. lasts : seconds until then, None: until
    the command has ended. path : the file that it damaged for good, if any, which a message must name
    """

    what: str
    end: Callable[[], None] | None = None
    lasts: float | None = 0.0
    path: Path | None = None


Begin = Callable[[Stage, Drawn], Hit | None]


@dataclass(frozen=True)
class Kind:
    """A kind of fault. begin : does it, and returns None where there is nothing to hit at that moment.

    scenes : those that it fits; what fits a study fits one on a cluster too. needs : `disk` (one of their own for the
    results), `user` (whom permissions bind), `tables` (which read all records; a scene on a cluster makes none)
    """

    name: str
    begin: Begin
    scenes: tuple[str, ...] = ("study", "plates")
    needs: str = ""


KINDS: dict[str, Kind] = {}


def kind(name: str, *, scenes: tuple[str, ...] = ("study", "plates"), needs: str = "") -> Callable[[Begin], Begin]:
    def add(begin: Begin) -> Begin:
        KINDS[name] = Kind(name, begin, scenes, needs)
        return begin

    return add


def pick(found: list, choice: float):
    """One of what was found, None if that is nothing."""
    return found[int(choice * len(found))] if found else None


def files_like(folder: Path, *patterns: str) -> list[Path]:
    """Files below a folder that match one of the patterns, which may vanish meanwhile."""
    found = []
    for top, _, names in os.walk(folder):
        found += [Path(top, name) for name in names if is_like(name, patterns)]
    return sorted(found)


def job_of(stage: Stage, drawn: Drawn) -> Process | None:
    return stage.victim or pick(stage.scene.machine.jobs(), drawn.choice)


def all_of(stage: Stage) -> list[Process]:
    return stage.scene.machine.processes()


# --- processes ------------------------------------------------------------------------------------------------------


def _signal_job(stage: Stage, drawn: Drawn, number: signal.Signals) -> Hit | None:
    if (job := job_of(stage, drawn)) is None:
        return None
    stage.scene.machine.signal(number, [job])
    return Hit(f"{number.name} to {job.name}")


@kind("kill -9 of a job")
def kill_job(stage: Stage, drawn: Drawn) -> Hit | None:
    return _signal_job(stage, drawn, signal.SIGKILL)


@kind("SIGTERM to a job")
def terminate_job(stage: Stage, drawn: Drawn) -> Hit | None:
    return _signal_job(stage, drawn, signal.SIGTERM)


def _signal_controller(stage: Stage, number: signal.Signals) -> Hit | None:
    if not (controllers := stage.scene.machine.controllers()):
        return None
    running = ", ".join(job.name for job in stage.scene.machine.jobs()) or "no job"
    stage.scene.machine.signal(number, controllers)
    return Hit(f"{number.name} to snakemake, while {running} runs")


@kind("kill -9 of snakemake")
def kill_controller(stage: Stage, drawn: Drawn) -> Hit | None:
    return _signal_controller(stage, signal.SIGKILL)


@kind("SIGTERM to snakemake")
def terminate_controller(stage: Stage, drawn: Drawn) -> Hit | None:
    return _signal_controller(stage, signal.SIGTERM)


@kind("Ctrl-C")
def interrupt(stage: Stage, drawn: Drawn) -> Hit | None:
    """The terminal sends SIGINT to all that runs in the foreground."""
    running = [process for process in all_of(stage) if process.is_job or process.name == "snakemake"]
    stage.scene.machine.signal(signal.SIGINT, running)
    return Hit(f"SIGINT to {', '.join(process.name for process in running)}") if running else None


@kind("kill -9 of all")
def kill_all(stage: Stage, drawn: Drawn) -> Hit | None:
    names = ", ".join(process.name for process in all_of(stage) if process.is_job)
    stage.scene.machine.kill_all()
    return Hit(f"SIGKILL to all, among them {names or 'no job'}")


def _freeze(stage: Stage, job: Process, lasts: float) -> Hit:
    machine = stage.scene.machine
    machine.signal(signal.SIGSTOP, [job])
    stage.held.add(job.number)

    def wake() -> None:
        stage.held.discard(job.number)
        machine.signal(signal.SIGCONT, [job])

    return Hit(f"{job.name} stands still for {lasts:.1f} s", wake, lasts)


@kind("a job stands still for a while")
def pause(stage: Stage, drawn: Drawn) -> Hit | None:
    job = job_of(stage, drawn)
    return None if job is None else _freeze(stage, job, drawn.lasts or 2.0)


@kind("a job stands still for longer than others wait, and a second run takes over")
def freeze(stage: Stage, drawn: Drawn) -> Hit | None:
    if (job := job_of(stage, drawn)) is None:
        return None
    hit = _freeze(stage, job, 7 + 3 * drawn.choice)  # wakes beside the job that took over
    stage.scene.machine.signal(signal.SIGKILL, stage.scene.machine.controllers())
    return Hit(f"{hit.what}; its snakemake is killed", hit.end, hit.lasts)


@kind("a second controller at once")
def second_controller(stage: Stage, drawn: Drawn) -> Hit | None:
    if not stage.scene.machine.controllers():
        return None
    stage.second = stage.scene.start(stage.scene.folder / "second.log")
    return Hit("the same command once more")


# --- files that are being worked on ---------------------------------------------------------------------------------


def _damage(stage: Stage, drawn: Drawn, folder: Path, *patterns: str, kill: bool = True) -> Hit | None:
    """Cut off or empty a file, as a file server does that dies with it."""
    if (path := pick(files_like(folder, *patterns), drawn.choice)) is None:
        return None
    if kill:
        stage.scene.machine.kill_all()
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        left = 0 if drawn.at_stop else size // 2
        os.truncate(path, left)
        return Hit(f"{path.relative_to(stage.scene.folder)} cut off: {left} of {size} bytes", path=path)
    return None


@kind("a checkpoint is cut off", scenes=("study",))
def cut_checkpoint(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, stage.scene.results, "*.ckpt")


@kind("a mark of a finished unit is gone")
def lose_mark(stage: Stage, drawn: Drawn) -> Hit | None:
    if (path := pick(files_like(stage.scene.results, ".done-*"), drawn.choice)) is None:
        return None
    stage.scene.machine.kill_all()
    path.unlink(missing_ok=True)
    return Hit(f"{path.relative_to(stage.scene.folder)} removed")


@kind("the record of an owner is cut off")
def cut_record(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, stage.scene.results, "owner-*", kill=drawn.choice < 0.5)


@kind("a manifest is cut off", scenes=("plates",))
def cut_manifest(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, stage.scene.results / "manifests", "*.json")


@kind("scan.tsv is cut off", scenes=("plates",))
def cut_scan(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, stage.scene.results, "scan.tsv")


@kind("a mark of a failed plate is cut off", scenes=("plates",))
def cut_failed(stage: Stage, drawn: Drawn) -> Hit | None:
    """Of a plate that failed once, and whose mark was cut off when the disk was full."""
    plate = pick(list(stage.scene.results.glob("manifests/*.json")), drawn.choice)
    if plate is None:
        return None
    stage.scene.machine.kill_all()
    mark = stage.scene.results / "failed" / plate.name
    mark.parent.mkdir(exist_ok=True)
    mark.write_text('{"content": "' if drawn.at_stop else "")
    return Hit(f"{mark.relative_to(stage.scene.folder)} cut off", path=mark)


@kind("a record of the study is cut off", scenes=("study",), needs="tables")
def cut_study_record(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, stage.scene.results, "run.json", "learning_rate.json", "source.json")


def _snakemake(stage: Stage) -> Path:
    folders = [path / ".snakemake" for path in (stage.scene.project, stage.scene.folder)]
    return max((path for path in folders if path.is_dir()), default=folders[0])


@kind("a lock of snakemake is cut off")
def cut_lock(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, _snakemake(stage) / "locks", "*")


@kind("the marks of incomplete outputs are gone")
def lose_incomplete(stage: Stage, drawn: Drawn) -> Hit | None:
    folder = _snakemake(stage) / "incomplete"
    if not (marks := files_like(folder, "*")):
        return None
    stage.scene.machine.kill_all()
    for mark in marks:
        mark.unlink(missing_ok=True)
    return Hit(f"{len(marks)} marks removed")


@kind("a mark of an incomplete output is cut off")
def cut_incomplete(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, _snakemake(stage) / "incomplete", "*")


@kind("snakemake's record of an output is cut off")
def cut_metadata(stage: Stage, drawn: Drawn) -> Hit | None:
    return _damage(stage, drawn, _snakemake(stage) / "metadata", "*")


# --- the file system ------------------------------------------------------------------------------------------------


def _away(stage: Stage, drawn: Drawn, folder: Path) -> Hit | None:
    """An absent mount: an empty folder in its place; or, where the folder is no disk and may be renamed, nothing."""
    aside = folder.with_name(f"{folder.name}.away")
    lasts = drawn.lasts
    name = folder.relative_to(stage.scene.folder)
    if stage.scene.mounted and (folder.is_mount() or drawn.at_stop):
        mode = 0o755 if drawn.choice < 0.5 else 0o555  # nobody can write into most mount points
        if not mount(folder, 8, mode):
            return None
        return Hit(f"{name}: not mounted (mode {mode:o})", lambda: unmount(folder) and None, lasts)
    if aside.exists():
        return None
    try:
        folder.rename(aside)
    except OSError:
        return None

    def back() -> None:
        if folder.exists():
            lost = folder.with_name(f"{folder.name}.lost-{time.monotonic_ns()}")
            folder.rename(lost)
        aside.rename(folder)

    return Hit(f"{name}: away", back, lasts)


@kind("the inbox is away", scenes=("plates",))
def inbox_away(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    return _away(stage, drawn, stage.scene.inbox)


@kind("the models are away", scenes=("plates",))
def models_away(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    return _away(stage, drawn, stage.scene.models)


@kind("the results are away")
def results_away(stage: Stage, drawn: Drawn) -> Hit | None:
    return _away(stage, drawn, stage.scene.results)


@kind("the disk is full", needs="disk")
def fill_disk(stage: Stage, drawn: Drawn) -> Hit | None:
    filler = stage.scene.results / ".filler"
    with suppress(OSError), filler.open("wb") as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
                    file.flush()
    return Hit("no byte is free", lambda: filler.unlink(missing_ok=True), drawn.lasts)


@kind("a file is seen late")
def late(stage: Stage, drawn: Drawn) -> Hit | None:
    """The newest result, renamed away and back."""
    found = [path for path in files_like(stage.scene.results, "[!.]*") if ".work-" not in str(path)]
    with suppress(FileNotFoundError):
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        return None if newest is None else _hide(stage, newest, drawn.lasts or 2.0)
    return None


def _hide(stage: Stage, path: Path, lasts: float | None) -> Hit:
    aside = stage.scene.folder / f"unseen-{time.monotonic_ns()}"
    times = path.stat()
    shutil.move(path, aside)

    def back() -> None:
        if not path.exists():
            with suppress(FileNotFoundError):  # its folder was removed
                shutil.move(aside, path)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        aside.unlink(missing_ok=True)

    return Hit(f"{path.relative_to(stage.scene.folder)} cannot be seen", back, lasts)


@kind("an image vanishes and returns", scenes=("plates",))
def image_away(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    path = pick(files_like(stage.scene.inbox, "*.tif*"), drawn.choice)
    return None if path is None else _hide(stage, path, drawn.lasts)


@kind("an index vanishes and returns", scenes=("plates",))
def index_away(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    path = pick(files_like(stage.scene.inbox, "*.xml"), drawn.choice)
    return None if path is None else _hide(stage, path, drawn.lasts)


@kind("weights are garbage for a while")
def garbage(stage: Stage, drawn: Drawn) -> Hit | None:
    top = stage.scene.models if isinstance(stage.scene, Plates) else stage.scene.results
    if (path := pick(files_like(top, "weights.safetensors"), drawn.choice)) is None:
        return None
    hit = _hide(stage, path, drawn.lasts)
    path.write_bytes(b"garbage" if drawn.at_stop else b"")

    def back() -> None:
        with suppress(FileNotFoundError):
            if path.read_bytes() in (b"garbage", b""):
                path.unlink()
        hit.end()

    return Hit(f"{path.relative_to(stage.scene.folder)} holds garbage", back, drawn.lasts)


def _forbid(stage: Stage, drawn: Drawn, path: Path, mode: int) -> Hit:
    opened = os.open(path, os.O_RDONLY)  # it may be renamed meanwhile
    before = os.fstat(opened).st_mode & 0o777
    os.fchmod(opened, mode)

    def allow() -> None:
        os.fchmod(opened, before)
        os.close(opened)

    return Hit(f"{path.relative_to(stage.scene.folder)}: mode {mode:o}", allow, drawn.lasts)


@kind("the results may not be written", needs="user")
def forbid_results(stage: Stage, drawn: Drawn) -> Hit | None:
    folders = sorted({path.parent for path in files_like(stage.scene.results, "*")} | {stage.scene.results})
    with suppress(FileNotFoundError):
        return _forbid(stage, drawn, pick(folders, drawn.choice), 0o500)
    return None


@kind("an image may not be read", scenes=("plates",), needs="user")
def forbid_image(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    path = pick(files_like(stage.scene.inbox, "*.tif*"), drawn.choice)
    return None if path is None else _forbid(stage, drawn, path, 0o000)


@kind("the inbox may not be read", scenes=("plates",), needs="user")
def forbid_inbox(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    folders = [stage.scene.inbox, *stage.scene.inbox.glob("*"), *stage.scene.inbox.glob("*/*")]
    path = pick([folder for folder in folders if folder.is_dir()], drawn.choice)
    return None if path is None else _forbid(stage, drawn, path, 0o000)


# --- times ----------------------------------------------------------------------------------------------------------


def _touch(stage: Stage, path: Path, drawn: Drawn, fraction: float) -> Hit | None:
    shift = (-HOUR, 0.0, 24 * HOUR)[int(3 * fraction)]
    with suppress(FileNotFoundError):
        then = time.time() + shift
        os.utime(path, (then, then))
        when = ("an hour older", "new", "a day in the future")[int(3 * fraction)]
        return Hit(f"{path.relative_to(stage.scene.folder)} is {when}", path=path)
    return None


@kind("an image has another time", scenes=("plates",))
def touch_image(stage: Stage, drawn: Drawn) -> Hit | None:
    assert isinstance(stage.scene, Plates)
    path = pick(files_like(stage.scene.inbox, "*"), drawn.choice)
    return None if path is None else _touch(stage, path, drawn, 1000 * drawn.choice % 1)


@kind("a result has another time")
def touch_result(stage: Stage, drawn: Drawn) -> Hit | None:
    path = pick([path for path in files_like(stage.scene.results, "[!.]*")], drawn.choice)
    return None if path is None else _touch(stage, path, drawn, 1000 * drawn.choice % 1)


@kind("the clock of an owner is wrong")
def wrong_clock(stage: Stage, drawn: Drawn) -> Hit | None:
    path = pick(files_like(stage.scene.results, "owner-*"), drawn.choice)
    return None if path is None else _touch(stage, path, drawn, 1000 * drawn.choice % 1)
