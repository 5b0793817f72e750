"""One run: a scene is disturbed as planned, its command is called again, and what is left is compared."""

import json
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .faults import KINDS, Hit, Stage
from .plan import Drawn, write_plan
from .scenes import Scene

MOST_CALLS = 30
"""Calls of the command in one run, after which it is given up."""

SAME, TOLD, WRONG, SILENT = "same bytes", "told, then same bytes", "WRONG", "silent"
OUTCOMES = (SAME, TOLD, WRONG, SILENT)


@dataclass
class Injected:
    """A fault that hit. call : in which call of the command. seconds : since the run began."""

    drawn: Drawn
    hit: Hit
    call: int
    seconds: float
    until: float | None = None
    told: str = ""
    may_pass: bool = False

    @property
    def passes(self) -> bool:
        return self.hit.end is not None


@dataclass
class Result:
    """How a run ended. faults : kind, what was hit, call, seconds, outcome."""

    run: int
    what: str
    outcome: str
    calls: int
    seconds: float
    faults: list[dict] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Run:
    """A scene from its beginning to its end."""

    def __init__(self, scene: Scene, plan: list[Drawn]) -> None:
        self.scene = scene
        self.pending = list(plan)
        self.stage = Stage(scene)
        self.injected: list[Injected] = []
        self.missed: list[str] = []
        self.notes: list[str] = []
        self.began = time.monotonic()
        self.calls = 0
        self._seen_jobs: set[int] = set()
        self._put_off_once: list[Drawn] = []
        self._heeded: list[str] = []
        self._steps = 0
        self._due: float | None = None
        self._disturbed = False

    # --- faults -----------------------------------------------------------------------------------------------------

    def _end_faults(self, at_end: bool) -> None:
        """End those whose time is over, and at the end of the command all but those that wait for a second."""
        for one in self.injected:
            over = one.until is not None and time.monotonic() >= one.until
            if one.passes and (over or (at_end and one.until is None)):
                end, one.hit.end = one.hit.end, None
                try:
                    end()
                    self._note(f"ended: {one.drawn.kind}")
                except OSError as error:
                    self._note(f"not ended: {one.drawn.kind}: {error}")

    def _in_force(self) -> bool:
        return any(one.passes for one in self.injected)

    def _note(self, text: str) -> None:
        self.notes.append(f"{time.monotonic() - self.began:6.1f} s, call {self.calls}: {text}")

    def _inject(self) -> None:
        drawn = self.pending[0]
        hit = None
        with suppress(OSError):  # what it was about to hit vanished
            hit = KINDS[drawn.kind].begin(self.stage, drawn)
        if hit is None:
            if time.monotonic() > self._due + 2:
                self._put_off()
            return
        now = time.monotonic()
        until = None if hit.lasts is None else now + hit.lasts
        self.injected.append(Injected(drawn, hit, self.calls, now - self.began, until, may_pass=hit.end is not None))
        self._note(f"{drawn.kind}: {hit.what}")
        self._next()

    def _put_off(self) -> None:
        """There is nothing to hit now: the others come first. What was put off already is missed."""
        drawn = self.pending[0]
        if drawn in self._put_off_once or len(self.pending) == 1:
            self.missed.append(drawn.kind)
            self._note(f"nothing to hit: {drawn.kind}")
        else:
            self._put_off_once.append(drawn)
            self.pending.append(drawn)
        self.pending.pop(0)
        self._steps, self._due = 0, None

    def _next(self) -> None:
        self.pending.pop(0)
        self._steps, self._due, self._disturbed = 0, None, True

    def _watch(self) -> None:
        """Count steps of work, inject what is due, and let jobs go on that stopped themselves."""
        processes = self.scene.machine.processes()
        jobs = {process.number for process in processes if process.is_job}
        stopped = [process for process in processes if process.state == "T" and process.number not in self.stage.held]
        self._steps += len(jobs - self._seen_jobs) + len(stopped)
        self._seen_jobs = jobs
        if self.pending:
            drawn = self.pending[0]
            if self._due is None and self._steps >= drawn.after:
                self._due = time.monotonic() + (0 if drawn.at_stop else drawn.delay)
            if self._due is not None and time.monotonic() >= self._due:
                waited = time.monotonic() > self._due + 2
                if not drawn.at_stop or stopped or waited:
                    self.stage.victim = stopped[0] if drawn.at_stop and stopped else None
                    self._inject()
                    self.stage.victim = None
        self.scene.machine.signal(
            signal.SIGCONT, [process for process in stopped if process.number not in self.stage.held]
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call(self) -> int:
        """Call the command once, disturb it, and return its exit status, or None if it hung and was killed."""
        self.calls += 1
        self._disturbed = self._in_force()
        with self.scene.log.open("a") as said:
            said.write(f"=== call {self.calls}\n")
        process = self.scene.start()
        began = moved = looked = time.monotonic()
        sign: tuple | None = None
        while process.poll() is None:
            self._end_faults(at_end=False)
            self._watch()
            now = time.monotonic()
            if now > looked + 2:
                looked, seen = now, (len(self.notes), self.scene.log.stat().st_size, self.scene.machine.work() // 20)
                sign, moved = seen, moved if seen == sign else now
                self._heed()
            if now > moved + self.scene.patience or now > began + self.scene.longest:
                self._note(f"HANGS: killed after {now - began:.0f} s")
                (self.scene.folder / f"state-{self.calls}.txt").write_text(self.state())
                self.scene.machine.kill_all()
                process.wait(10)
                break
            time.sleep(0.05)
        self._settle()
        return process.returncode

    def _heed(self) -> None:
        """Do what a person is told while the command runs and waits for it."""
        for text in self.scene.heed():
            self._note(f"a person does what is told: {text}")
            self._heeded.append(text)
            if self.injected:
                self.injected[-1].told = text

    def _settle(self) -> None:
        """After a call: let faults pass. What goes on of a killed controller's jobs goes on."""
        if self.stage.second is not None:
            with suppress(subprocess.TimeoutExpired):
                self.stage.second.wait(30)
            if self.stage.second.poll() is None:
                self._note("HANGS: the second controller")
                self.scene.machine.kill_all()
            self.stage.second = None
        self._end_faults(at_end=True)
        self._watch()

    def state(self) -> str:
        """For a person who wants to know why nothing happens: processes, and the ends of all logs."""
        lines = [str(process) for process in self.scene.machine.processes()]
        logs = [self.scene.log, *sorted((self.scene.results / "logs").rglob("*.log"))]
        for log in logs:
            with suppress(OSError):
                lines += [f"--- {log}", *log.read_text(errors="replace").splitlines()[-25:]]
        return "\n".join([*self.notes, *lines]) + "\n"

    def play(self) -> tuple[bool, list[str]]:
        """Call until the scene is finished: whether it is, and what a person had to do."""
        finished, remedies = self._play()
        return finished, [*remedies, *self._heeded]

    def _play(self) -> tuple[bool, list[str]]:
        self.scene.prepare()
        remedies: list[str] = []
        quiet = 0
        while self.calls < MOST_CALLS:
            since = len(self.scene.said())
            status = self._call()
            if self.scene.machine.is_closed:
                raise InterruptedError("the campaign was interrupted")
            if self.scene.is_finished(status) and not self._in_force():
                self._wait_for_the_rest()
                return True, remedies
            if self._disturbed or self._in_force() or self._waited_for_another(since):  # no wonder
                quiet = 0
                continue
            quiet += 1
            if quiet >= self.scene.quiet_calls:
                done = self._remedy(since)
                if not done or set(done) <= set(remedies):  # or it was done before, and did not help
                    return False, remedies
                remedies += done
                quiet = 0
        return False, remedies

    def _waited_for_another(self, since: int) -> bool:
        """Wait for a snakemake that a call gave way to, as it said: what a killed program had started may still run."""
        if "is working in" not in self.scene.told(since):
            return False
        until = time.monotonic() + self.scene.longest
        while self.scene.machine.controllers() and time.monotonic() < until:
            self._watch()
            time.sleep(0.05)
        if self.scene.machine.controllers():
            self._note("HANGS: a snakemake that the call gave way to")
            self.scene.machine.kill_all()
        return True

    def _wait_for_the_rest(self) -> None:
        """Jobs of a killed controller may still run: they must not change what is finished."""
        self.missed += [f"{drawn.kind} (not reached)" for drawn in self.pending]
        self.pending.clear()
        until = time.monotonic() + 30
        while self.scene.machine.processes() and time.monotonic() < until:
            self._end_faults(at_end=True)
            self._watch()
            time.sleep(0.05)
        if left := self.scene.machine.processes():
            self._note(f"HANGS: {', '.join(process.name for process in left)} after the end")
            self.scene.machine.kill_all()

    def _remedy(self, since: int) -> list[str]:
        """Do what the last call and the tables tell a person to do; what that was."""
        told, done = self.scene.told(since), []
        for text, deed in self.scene.remedies():
            if text in told:
                deed()
                done.append(text)
        for one in self.injected:
            path = one.hit.path
            if path is None or not path.exists():
                continue
            name = f"{path.parent.name}/{path.name}"
            line = next((line for line in told.splitlines() if name in line), "")
            # "delete it and run again": without the record, the next call does.
            if re.search(r"\b(delete|remove) (it|this|that|the file)\b|: (convert|train|make) .* again", line):
                path.unlink()
                one.told = line
                done.append(line)
            elif "future" in told and path.stat().st_mtime > time.time():
                path.touch()
                one.told = next(line for line in told.splitlines() if "future" in line)
                done.append(one.told)
        for text in done:
            self._note(f"a person does what is told: {text[:300]}")
        return done


def play(scene: Scene, reference: Path, plan: list[Drawn], number: int, kept: Path) -> Result:
    """Play a run, and keep its logs in the folder `kept`; of one that went wrong its results too."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    write_plan(kept / "plan.json", plan)
    run = Run(scene, plan)
    finished, remedies = run.play()
    differences, litter = scene.differences(reference) if finished else ([], [])
    hung = [note for note in run.notes if "HANGS" in note]
    if not finished and not remedies:
        outcome = SILENT
    elif not finished or differences or hung:
        outcome = WRONG
    else:
        outcome = TOLD if remedies else SAME
    seconds = round(time.monotonic() - run.began, 1)
    result = Result(number, scene.what, outcome, run.calls, seconds, missed=run.missed, differences=differences)
    result.litter, result.remedies, result.notes = litter, remedies, run.notes
    passed = any(text.startswith("failed/") for text in remedies)
    for one in run.injected:
        result.faults.append(
            {
                "kind": one.drawn.kind,
                "hit": one.hit.what,
                "call": one.call,
                "outcome": _outcome_of(one, outcome, passed),
            }
        )
    (kept / "notes.txt").write_text(run.state())
    with suppress(OSError):
        shutil.copy(scene.log, kept)
    if outcome in (WRONG, SILENT):
        keep(scene, kept)
    (kept / "result.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    scene.clear()
    return result


def _outcome_of(one: Injected, outcome: str, passed: bool) -> str:
    """Of a run in which a person had to act, faults whose message led to that, or that a plate was given up for."""
    return SAME if outcome == TOLD and not one.told and not (passed and one.may_pass) else outcome


def keep(scene: Scene, kept: Path) -> None:
    """All that a person may want to look at."""
    for path in scene.folder.iterdir():
        if path.name == "project":
            continue
        with suppress(OSError, shutil.Error):
            if path.is_dir():
                shutil.copytree(path, kept / path.name, symlinks=True)
            else:
                shutil.copy2(path, kept / path.name)
