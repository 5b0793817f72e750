"""The controllers of a folder: the snakemakes that plan what is made there and submit the jobs.

Snakemake's lock says that files are in use, but not by whom, and anybody may take it away. So each controller leaves a
record beside the lock, `.snakemake/controllers/owner-<token>`, which names host and process and is touched every ten
seconds (`equinuclei.runtime.owners`). Beside it, `about-<token>.json` says whose it is and what it makes, and
`jobs-<token>` which jobs of SLURM it submitted. Whether it lives is seen from every host and by every user.

A controller that was taken for dead finds `taken-<token>` when it goes on, and ends.
"""

import atexit
import getpass
import json
import math
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import FrameType
from typing import Any

from equinuclei.errors import StoppedError
from equinuclei.runtime import owners
from equinuclei.runtime.owners import Watch, living_here, started, write_owner

FOLDER = ".snakemake/controllers"

CALLER = "EQUINUCLEI_CONTROLLER"
"""The variable that names the controller to programs that it calls."""

LOOK = 2.0
"""Seconds between two looks at a record that only its heartbeat tells of."""

KEPT = 30 * 86_400.0
"""Seconds for which a controller that was taken for dead may find that out."""


@dataclass(frozen=True)
class Controller:
    """A controller by its record."""

    record: Path

    @property
    def token(self) -> str:
        return self.record.name.removeprefix("owner-")

    @property
    def folder(self) -> Path:
        """The folder that it works in."""
        return self.record.parents[2]

    def beside(self, kind: str, suffix: str = "") -> Path:
        return self.record.with_name(f"{kind}-{self.token}{suffix}")

    @cached_property
    def about(self) -> dict[str, Any]:
        """Host, process, user, SLURM job, since when, and the files that it makes; what cannot be read is absent."""
        found: dict[str, Any] = {}
        for path in (self.record, self.beside("about", ".json")):
            with suppress(OSError, ValueError):
                found = json.loads(path.read_text(encoding="utf-8")) | found
        return found

    @property
    def user(self) -> str | None:
        return self.about.get("user")

    @property
    def outputs(self) -> frozenset[str]:
        return frozenset(self.about.get("outputs", ()))

    def __str__(self) -> str:
        about = self.about
        host = str(about.get("host") or about.get("name") or "").split(" ")[0] or "an unknown host"
        job = f", SLURM job {about['of_job']}" if about.get("of_job") else ""
        who = f"snakemake of {self.user or 'an unknown user'} on {host} (process {about.get('process', '?')}{job})"
        return f"{who}, since {about.get('since', 'an unknown time')}"

    def jobs(self) -> dict[str, str]:
        """The jobs that it submitted to SLURM: number and name."""
        try:
            rows = self.beside("jobs").read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        return dict(row.split("\t", 1) for row in rows if "\t" in row)

    def add_job(self, number: str, name: str) -> None:
        """Note a job that SLURM accepted. On a disk that cannot be written this is left out: the job has its name."""
        with suppress(OSError), self.beside("jobs").open("a", encoding="utf-8") as file:
            file.write(f"{number}\t{name}\n")

    def lives(self, watch: Watch) -> bool:
        """Whether it is alive. Where only its heartbeat tells, this looks for up to half a minute."""
        looks = math.ceil(owners.WATCHED * owners.HEARTBEAT / min(LOOK, owners.HEARTBEAT / 2)) + 2
        try:
            before = self.record.stat().st_mtime
            for _ in range(looks):
                if not watch.lives(self.record):
                    return False
                if self.about.get("host") == owners.host() or self.record.stat().st_mtime != before:
                    return True
                time.sleep(LOOK)
        except FileNotFoundError:  # it has ended meanwhile
            return False
        return True

    def clear(self) -> None:
        """Remove what a dead controller left; should it wake up, it learns that it was taken for dead."""
        with suppress(FileNotFoundError):
            self.record.rename(self.beside("taken"))
        for path in (self.beside("about", ".json"), *map(self.beside, ("jobs", "told", "said", "said-once"))):
            path.unlink(missing_ok=True)


def find_controllers(folder: Path) -> tuple[list[Controller], list[Controller]]:
    """The living and the dead controllers of a folder."""
    records = Path(folder, FOLDER)
    found = [Controller(path) for path in sorted(records.glob("owner-*"))]
    if not found:
        return [], []
    clock = records / f"clock-{uuid.uuid4().hex[:12]}"
    try:
        living = [controller for controller in found if _lives(controller, clock)]
    finally:
        clock.unlink(missing_ok=True)
    return living, [controller for controller in found if controller not in living and controller.record.exists()]


def _lives(controller: Controller, clock: Path) -> bool:
    try:
        return controller.lives(Watch(clock))
    except PermissionError:  # another user's folder, where no clock can be read: in doubt it lives
        return True


def announce(folder: Path, outputs: Iterable[str], job: str | None) -> "Presence":
    """Leave the record of this process, which plans the work of a folder, and keep it beating.

    outputs : the files that it will make, by their paths in the folder; job : the SLURM job that it runs in

    Raises StoppedError, with nothing left behind, if a living controller makes one of these files. Dead ones that had
    jobs are told.
    """
    records = Path(folder, FOLDER).absolute()
    records.mkdir(parents=True, exist_ok=True)
    presence = Presence(Controller(records / f"owner-{uuid.uuid4().hex[:12]}"), sorted(outputs), job)
    presence.begin()
    try:
        living, dead = find_controllers(folder)
        for other in living:
            if other != presence.controller and other.outputs & presence.controller.outputs:
                raise StoppedError(
                    f"{folder}: {other}, makes the same files and is alive. Let it finish, or end it where it runs "
                    "(Ctrl-C). If it was killed there, wait two minutes: it then counts as dead"
                )
        for other in dead:
            if not other.jobs():
                with suppress(OSError):  # another user's
                    other.clear()
                continue
            tell(
                f"{other}, ended without a word. scripts/unlock.sh cancels the jobs that it left and clears its "
                "record; until these jobs end, new ones wait for those that do the same work"
            )
        for path in records.glob("taken-*"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - KEPT:
                    path.unlink()
    except BaseException:
        presence.end()
        raise
    return presence


class Presence:
    """This process as a controller: its record, and the thread that touches it."""

    def __init__(self, controller: Controller, outputs: list[str], job: str | None) -> None:
        self.controller = controller
        self._about = {
            "user": user_name(),
            "since": time.strftime("%Y-%m-%d %H:%M"),
            "of_job": job,
            "process": os.getpid(),
            "name": os.uname().nodename,
            "outputs": outputs,
        }
        self._stop, self._here = threading.Event(), ExitStack()
        self._said = 0
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def begin(self) -> None:
        """Write the record and keep it beating."""
        self._here.enter_context(living_here(self.controller.token))
        self._write()
        self._thread.start()
        atexit.register(self.end)
        interrupt = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(interrupt):
            signal.signal(signal.SIGINT, partial(self._interrupted, interrupt))
            self._here.callback(signal.signal, signal.SIGINT, interrupt)

    def end(self) -> None:
        """Remove the record."""
        if self._about["process"] != os.getpid():  # a fork of the controller ends
            return
        self._stop.set()
        self._here.close()
        self._pass_on()
        atexit.unregister(self.end)
        with suppress(OSError):
            self.controller.record.unlink(missing_ok=True)
            for path in self.controller.record.parent.glob(f"*-{self.controller.token}*"):
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        self.controller.beside("about", ".json").write_text(json.dumps(self._about), encoding="utf-8")
        write_owner(self.controller.record)

    def _interrupted(self, interrupt: Callable[[int, FrameType | None], object], *signalled: Any) -> None:
        """Let programs that submit jobs know (`Caller.submits`), where a signal reaches this process alone."""
        with suppress(OSError):
            self.controller.beside("ending").touch()
        interrupt(*signalled)

    def _pass_on(self) -> None:
        """Say what programs that this controller called had to say (`Caller.tell`)."""
        with suppress(OSError):
            said = self.controller.beside("said").read_text(encoding="utf-8").splitlines()
            for line in said[self._said :]:
                tell(line)
            self._said = len(said)

    def _beat(self) -> None:
        while not self._stop.wait(owners.HEARTBEAT):
            self._pass_on()
            try:
                os.utime(self.controller.record)
            except FileNotFoundError:
                if self.controller.beside("taken").exists():
                    tell("another snakemake took this one for dead and took its folder over: this one ends")
                    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does: it cancels its jobs
                    return
                with suppress(OSError):
                    if not self._stop.is_set():
                        self._write()
            except OSError:
                continue  # the file system may come back


@dataclass(frozen=True)
class Caller:
    """The controller that called a program, as its environment names it: process, when that started, and its record."""

    process: int
    since: str
    controller: Controller

    @classmethod
    def from_environment(cls) -> "Caller | None":
        process, _, rest = os.environ.get(CALLER, "").partition(" ")
        since, _, record = rest.partition(" ")
        return cls(int(process), since, Controller(Path(record))) if process.isdigit() and record else None

    @staticmethod
    def describe(controller: Controller) -> str:
        """What the environment of programs that this process calls must say."""
        return f"{os.getpid()} {started(os.getpid())} {controller.record}"

    def runs(self) -> bool:
        return started(self.process) == self.since

    def submits(self) -> bool:
        """Whether it still submits jobs: it does not once it was interrupted."""
        return self.runs() and not self.controller.beside("ending").exists()

    def tell(self, message: str, every: float) -> None:
        """Say something in the controller's terminal, unless something was said less than so many seconds ago."""
        told = self.controller.beside("told")
        with suppress(OSError):
            if told.exists() and told.stat().st_mtime > time.time() - every:
                return
            told.touch()
        self._say(message)

    def tell_the_end(self, message: str) -> None:
        """Say that what was told is over, once."""
        with suppress(OSError):
            self.controller.beside("told").unlink()  # fails where another program has said it
            self._say(message)

    def tell_once(self, message: str) -> None:
        """Say something in the controller's terminal, unless it was said before."""
        path = self.controller.beside("said-once")
        with suppress(OSError):
            if path.exists() and message in path.read_text(encoding="utf-8").splitlines():
                return
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{message}\n")
        self._say(message)

    def _say(self, message: str) -> None:
        # The controller reads it and says it: where its terminal is a file, two writers would overwrite each other.
        with suppress(OSError), self.controller.beside("said").open("a", encoding="utf-8") as file:
            file.write(f"[{time.strftime('%H:%M:%S')}] {message}\n")


def tell(message: str) -> None:
    """Say something in this process's terminal."""
    print(message, file=sys.stderr, flush=True)


def user_name() -> str:
    """The name of this process's user, or its number where it has none."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return str(os.getuid())


def snakemakes_here(folder: Path) -> Iterator[int]:
    """The snakemakes of this host that work in a folder and are no jobs, whether or not they left a record.

    Their program tells, not their text: where this host is a node too, there are also the shells, the srun and the
    scripts of jobs, which name snakemake, and the snakemake inside a job (`--target-jobs`).
    """
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            is_it = Path(words[0]).name.startswith("python") and any(
                Path(word).name == "snakemake" for word in words[1:3]
            )
            if is_it and "--target-jobs" not in words and (path / "cwd").readlink().samefile(folder):
                yield int(path.name)
